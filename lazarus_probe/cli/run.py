"""From a typer application to an exit code: every error that a user can cause is one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

# typer may carry its own copy of click; what it exports leads to the right one.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

# FloatingPointError: a loss that is no number; IndexError: a layer or position that does not exist.
USER_ERRORS = (ValueError, OSError, IndexError, FloatingPointError)


def run(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 after an error, 130 after an interruption.

    Args:
        app: the application.
        name: what it is called in help and errors.
        arguments: its arguments; those of the process by default.
    """
    try:
        code = app(args=arguments, prog_name=name, standalone_mode=False)
    except _ClickError as error:
        return _fail(_advised(error))
    except USER_ERRORS as error:
        return _fail(describe(error))
    return code if isinstance(code, int) else 0


def describe(error: BaseException) -> str:
    """An error in one line; one of the operating system names its file first."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def show_version(shown: bool) -> None:
    """The callback of `--version`."""
    if shown:
        from importlib.metadata import PackageNotFoundError, version  # takes 20 ms

        try:
            number = version("lazarus_probe")
        except PackageNotFoundError:
            number = "from a checkout that is not installed"
        print(f"lazarus_probe {number}")  # noqa: T201 - this is the output
        raise typer.Exit


def _advised(error: Any) -> str:
    context = getattr(error, "ctx", None)
    advice = f"; see `{context.command_path} --help`" if context else ""
    return " ".join(error.format_message().split()).rstrip(".") + advice


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - this is the output
    return 2
