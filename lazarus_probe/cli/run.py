"""From a typer application to an exit code: every error that a user can cause is one line."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from lazarus_probe.checkpoints.packages import fetched_when_used
from lazarus_probe.cli.advice import advised, is_bare
from lazarus_probe.clock import running
from lazarus_probe.subject.one_run import failure, leave
from lazarus_probe.versions import version_of

# typer may carry its own copy of click; what it exports leads to the right one.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

# FloatingPointError: a loss that is not a number; IndexError: a layer or position that does not exist.
USER_ERRORS = (ValueError, OSError, IndexError, FloatingPointError)


def run(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code: 0, 2 after an error, 130 after an interruption.

    A group without a command shows its help as an error does. Warnings are one line each on standard error.

    Args:
        app: the application.
        name: what it is called in help and errors.
        arguments: its arguments; those of the process by default.
    """
    _print_anything()
    with _plain_warnings(), fetched_when_used(), running("working"):
        try:
            code = app(args=arguments, prog_name=name, standalone_mode=False)
        except _ClickError as error:
            context: Any = getattr(error, "ctx", None)
            if is_bare(error, context):
                print(context.get_help(), file=sys.stderr)  # noqa: T201 - this is the output
                return 2
            return _fail(advised(error, context))
        except USER_ERRORS as error:
            return _fail(failure(error) or describe(error))
        except Exception as error:
            if (text := failure(error)) is None:
                raise
            return _fail(text)
    leave()
    return code if isinstance(code, int) else 0


def _print_anything() -> None:
    """Escape what the encoding of the output lacks: a path may hold bytes that are not text in it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """One-line warnings, without the line of code that they come from."""
    before = warnings.formatwarning

    def formatted(message: Any, *_: Any, **__: Any) -> str:
        return f"warning: {' '.join(str(message).split())}\n"

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = before


def describe(error: BaseException) -> str:
    """An error in one line; one of the operating system names its file first."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def show_version(shown: bool) -> None:
    """The callback of `--version`."""
    if shown:
        print(f"lazarus_probe {version_of('lazarus_probe')}")  # noqa: T201 - this is the output
        raise typer.Exit


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - this is the output
    return 2
