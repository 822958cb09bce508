"""The command line: one file a command; here are the entry point and the exit codes."""

import sys


def main() -> None:
    """Run the command line and exit with its code: 0, 1, 2, 3 or 130 (see the README)."""
    from deepmad.cli.app import run

    sys.exit(run(sys.argv[1:]))
