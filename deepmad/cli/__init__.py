"""The command line: one file a command; here are the entry point and the exit codes."""

import sys


def main() -> None:
    """Run the command line and exit with its code: 0, 1, 2, 3, 5, 130 or 143 (see the README)."""
    from deepmad.cli.endings import ending, listen

    try:
        listen()
        from deepmad.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt as interrupt:  # while libraries are loaded, or at the very end
        line, code = ending(interrupt)
        print(line, file=sys.stderr)
    sys.exit(code)
