"""The `deepmad` command."""

from deepmad.cli import main

if __name__ == "__main__":
    main()
