"""Functions that a user names as `package.module:function`: importing them runs their code."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmad.search_spaces.errors import InputError, near


@dataclass(frozen=True)
class NamedFunction:
    """A function by its name, so that other processes can import it too: from `folder` first."""

    module: str
    name: str
    folder: str

    def __call__(self, *arguments: Any) -> Any:
        """Import the function and return what it returns."""
        with importable(self.folder):
            return self.load()(*arguments)

    def load(self) -> Callable[..., Any]:
        """Return the function itself. Raises `InputError` where it cannot be imported or called."""
        with importable(self.folder):
            return imported(self.module, self.name)


def named_function(text: str) -> NamedFunction:
    """Return the function that `text` names, package.module:function, from the current folder first.

    It is imported once, to see that it is there. Raises `InputError`.
    """
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise InputError(f"{text!r} names no function; write package.module:function")
    function = NamedFunction(module, name, str(Path.cwd()))
    function.load()
    return function


def imported(module: str, name: str) -> Callable[..., Any]:
    """Import `module`, which runs it, and return its function `name`. Raises `InputError`.

    What it prints while it is imported goes to standard error.
    """
    try:
        with redirect_stdout(sys.stderr):
            found = importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{module}:{name}: cannot import it ({error}); write package.module:callable") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{module}:{name}: importing it raised {type(error).__name__}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            choices = _choices(found, part)
            raise InputError(f"{module}:{name}: there is no {part}{choices}; write package.module:callable")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"{module}:{name}: it is {type(found).__name__}, not a function")
    function: Callable[..., Any] = found
    return function


@contextmanager
def importable(folder: str) -> Iterator[None]:
    """Let modules in `folder` be imported, before all others."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _choices(module: Any, wanted: str) -> str:
    """Return the functions of the user's module, in words, and which may be meant; nothing where it has none."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]
    return f"{near(wanted, own)}; it has {', '.join(own[:5])}" if own else ""
