"""A group whose commands are imported when one is asked for: help and errors must not wait for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable


def lazy_group(table: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """A group of commands that are functions of modules not imported yet.

    Args:
        table: by command, its module in `lazarus_probe.cli`, in which the function has the command's name (with _ for
            -), and what the group's help says of it: the first line of the function's docstring.
    """

    class Commands(TyperGroup):
        known: ClassVar[Mapping[str, tuple[str, str]]] = table

        def list_commands(self, ctx: Any) -> list[str]:
            return list(self.known)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return command_of(cmd_name, *self.known[cmd_name][:1]) if cmd_name in self.known else None

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, line) for name, (_, line) in self.known.items()])

    return Commands


def function_of(name: str, module: str) -> Callable[..., None]:
    """The function that a command is."""
    found: Callable[..., None] = getattr(import_module(f"lazarus_probe.cli.{module}"), name.replace("-", "_"))
    return found


def command_of(name: str, module: str) -> Any:
    """A command, made of the function in its module."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name)(function_of(name, module))
    return typer.main.get_command(app)
