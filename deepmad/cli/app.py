"""The commands of `deepmad`, and what becomes of errors: one line and an exit code, never a traceback."""

import errno
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from deepmad.cli.clock import began_at
from deepmad.cli.design import design
from deepmad.cli.doctor import doctor
from deepmad.cli.endings import ending
from deepmad.cli.export import export
from deepmad.cli.grouped import Grouped
from deepmad.cli.measure import measure
from deepmad.cli.output import CONTRADICTED, DEVICE_FAILED, DONE, MISUSE, NO_MEMORY, PIPE_CLOSED, err, one_line, say
from deepmad.cli.schema import schema
from deepmad.cli.show import compare, show
from deepmad.cli.spaces import presets
from deepmad.cli.table import table
from deepmad.cli.zoo import zoo
from deepmad.engine.answers.claims import ContradictionError
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.errors import InputError, first_line, near
from deepmad.version import __version__

app = typer.Typer(
    name="deepmad",
    help="Design CNNs for a hardware budget, with a proof of how close to optimal they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(presets)
app.command(cls=Grouped)(design)
for _command in (show, compare, measure, export, zoo, doctor, schema):
    app.command()(_command)
app.add_typer(table, name="table", no_args_is_help=True)

# click's own error classes; typer carries a copy of click since 0.26, so they are reached through it
_UsageError = typer.BadParameter.__mro__[1]
_ClickError = typer.BadParameter.__mro__[2]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"deepmad {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Design CNNs for a hardware budget, with a proof of how close to optimal they are."""


def run(arguments: Sequence[str], began: float | None = None) -> int:
    """Run one command line, which began now or at a moment of the monotonic clock; return its exit code."""
    if any("\0" in argument for argument in arguments):
        return _fail("an argument holds a NUL character; remove it", MISUSE)
    command = typer.main.get_command(app)
    try:
        _check_words(arguments)
        # Not by calling `app`, which would turn an interrupt into an exit that says nothing.
        with began_at(began), command.make_context("deepmad", list(arguments)) as context:
            code = command.invoke(context)
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error), MISUSE)
    except DeviceError as error:
        return _fail(str(error), DEVICE_FAILED)
    except ContradictionError as error:
        return _fail(str(error), CONTRADICTED)
    except KeyboardInterrupt as interrupt:
        line, code = ending(interrupt)
        say(line)
    except OSError as error:
        if error.errno in (errno.EPIPE, errno.ENOSPC) and error.filename is None:
            return _unprinted(error)
        return _fail(f"{error.filename or 'a file'}: {error.strerror or first_line(error)}", MISUSE)
    except MemoryError as error:
        return _fail(f"not enough memory: {error or 'ask for less, or end other programs'}", NO_MEMORY)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except Exception as error:
        if (known := _known(error)) is None:
            raise
        return known
    return code if isinstance(code, int) else DONE


def _check_words(arguments: Sequence[str]) -> None:
    """Raise `InputError` for an argument that is empty: it names nothing, and a path would take it for this folder."""
    for before, word in zip(("", *arguments), arguments, strict=False):
        if not word.strip():
            raise InputError(
                f"{before if before.startswith('-') else 'argument'}: {word!r} names nothing; give a value"
            )


def _known(error: Exception) -> int | None:
    """Return the exit code of an error that click or standard output raised, having told it; None for any other."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(_message(error))
        return DONE
    if isinstance(error, _UsageError):
        return _fail(f"{_message(error).rstrip('?')}; see deepmad --help", MISUSE)
    if isinstance(error, _ClickError):
        return MISUSE if not str(error) else _fail(str(error), MISUSE)
    return None


def _unprinted(error: OSError) -> int:
    """Return the exit code where standard output takes no more: its reader has gone, or its disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter tries again at its end
    if error.errno == errno.EPIPE:
        return PIPE_CLOSED
    return _fail(f"standard output cannot be written ({error.strerror}); free some space", MISUSE)


def _message(error: Exception) -> str:
    """Return what click has to say of an error, the option's name included, and what may have been meant."""
    message = str(getattr(error, "format_message", error.__str__)()).rstrip(".").replace("Value error, ", "")
    wrong = re.search("'([^']*)' is not one of (.*)", message)
    return message + (near(wrong[1], re.findall("'([^']*)'", wrong[2])) if wrong else "")


def _fail(message: str, code: int) -> int:
    err().print(f"error: {one_line(message)}", style="bold red")
    return code
