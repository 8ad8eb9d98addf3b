"""A group that imports a command when it is used: help and errors must not wait for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


def lazy_group(table: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> type[TyperGroup]:
    """A group of commands and groups in modules that are imported on use; commands added to it follow.

    Args:
        table: by command, its module in `lazarus_probe.cli`, in which a function or `typer.Typer` has the command's
            name (with _ for -), and what the group's help says of it: the first line of its docstring or help.
    """

    class Commands(TyperGroup):
        lazy: ClassVar[Mapping[str, tuple[str, str]]] = table

        def list_commands(self, ctx: Any) -> list[str]:
            return [*self.lazy, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in self.lazy:
                return super().get_command(ctx, cmd_name)
            return command_of(cmd_name, self.lazy[cmd_name][0])

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            lines = [(name, line) for name, (_, line) in self.lazy.items()]
            for name in super().list_commands(ctx):
                command = super().get_command(ctx, name)
                lines.append((name, command.get_short_help_str(1000) if command else ""))
            with formatter.section("Commands"):
                formatter.write_dl(lines)

    return Commands


def command_of(name: str, module: str) -> Any:
    """A command made of the function, or the group made of the `typer.Typer`, in its module."""
    member = getattr(import_module(f"lazarus_probe.cli.{module}"), name.replace("-", "_"))
    if isinstance(member, typer.Typer):
        group = typer.main.get_group(member)
        group.name = name
        return group
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name)(member)
    return typer.main.get_command(app)
