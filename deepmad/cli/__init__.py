"""The command line: one file a command; here are the entry point and the exit codes."""

import gc
import sys
import time
from contextlib import nullcontext

_LOADED = time.monotonic()
"""When the process had loaded Python itself."""


def main() -> None:
    """Run the command line and exit with its code: 0, 1, 2, 3, 5, 130 or 143 (see the README)."""
    from deepmad.cli.endings import ending, listen

    try:
        listen()
        from deepmad.cli.app import run
        from deepmad.cli.clock import process_began
        from deepmad.cli.output import say
        from deepmad.cli.silence import never_silent

        arguments = sys.argv[1:]
        with nullcontext() if "--json" in arguments else never_silent(" ".join(["deepmad", *arguments[:1]]), say):
            code = run(arguments, process_began(_LOADED))
    except KeyboardInterrupt as interrupt:  # while libraries are loaded, or at the very end
        line, code = ending(interrupt)
        print(line, file=sys.stderr)
    gc.freeze()  # what is left needs no collection any more, which would take longer than all else that ends
    sys.exit(code)
