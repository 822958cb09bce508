"""The commands of `deepmad`, and what becomes of errors: one line and an exit code, never a traceback."""

from collections.abc import Sequence
from typing import Annotated

import typer

from deepmad.cli.design import design
from deepmad.cli.doctor import doctor
from deepmad.cli.export import export
from deepmad.cli.measure import measure
from deepmad.cli.output import DEVICE_FAILED, DONE, INTERRUPTED, MISUSE, err
from deepmad.cli.schema import schema
from deepmad.cli.show import compare, show
from deepmad.cli.table import table
from deepmad.cli.zoo import zoo
from deepmad.profilers.errors import DeviceError
from deepmad.search_spaces.errors import InputError
from deepmad.version import __version__

app = typer.Typer(
    name="deepmad",
    help="Design CNNs for a hardware budget, with a proof of how close to optimal they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in (design, show, compare, measure, export, zoo, doctor, schema):
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


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        code = app(list(arguments), standalone_mode=False)
    except InputError as error:
        return _fail(str(error), MISUSE)
    except DeviceError as error:
        return _fail(str(error), DEVICE_FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(_message(error))
            return DONE
        if isinstance(error, _UsageError):
            return _fail(f"{_message(error).rstrip('.')}; see deepmad --help", MISUSE)
        if isinstance(error, _ClickError):
            return MISUSE if not str(error) else _fail(str(error), MISUSE)
        raise
    return code if isinstance(code, int) else DONE


def _message(error: Exception) -> str:
    """Return what click has to say of an error, the option's name included."""
    return str(getattr(error, "format_message", error.__str__)())


def _fail(message: str, code: int) -> int:
    err().print(f"error: {' '.join(message.split())}", style="bold red", markup=False)
    return code
