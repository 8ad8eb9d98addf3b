"""A group that imports a command when it is used: help and errors must not wait for all of them.

Its help shows commands in sections, and that of a command an example, from `examples.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from lazarus_probe.cli.options import OTHER_LETTERS

EXAMPLES = Path(__file__).with_name("examples.txt")  # a command line a line


def lazy_group(
    table: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    sections: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> type[TyperGroup]:
    """A group of commands and groups in modules that are imported on use; commands added to it follow.

    Args:
        table: by command, its module in `lazarus_probe.cli`, in which a function or `typer.Typer` has the command's
            name (with _ for -), and what the group's help says of it: the first line of its docstring or help.
        sections: by heading its commands, in which the group's help shows all that are in the table.
    """

    class Commands(TyperGroup):
        lazy: ClassVar[Mapping[str, tuple[str, str]]] = table

        def list_commands(self, ctx: Any) -> list[str]:
            return [*self.lazy, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in self.lazy:
                command: Any = command_of(cmd_name, self.lazy[cmd_name][0])
            else:
                command = super().get_command(ctx, cmd_name)
            if lines := examples_of(f"{ctx.command_path} {cmd_name}"):
                command.epilog = "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])
            return command

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            lines = {name: line for name, (_, line) in self.lazy.items()}
            for name in super().list_commands(ctx):
                command = super().get_command(ctx, name)
                lines[name] = command.get_short_help_str(1000) if command else ""
            first = max(map(len, lines))
            for heading, names in (sections or {"Commands": tuple(lines)}).items():
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(first), lines[name]) for name in names])

    return Commands


@cache
def _examples() -> tuple[str, ...]:
    return tuple(EXAMPLES.read_text(encoding="utf-8").splitlines())


def examples_of(command: str) -> list[str]:
    """The command lines that show a command, as in `lazarus introspect patch`; none for a group."""
    return [line for line in _examples() if line == command or line.startswith(f"{command} ")]


def lettered(letters: Mapping[str, str]) -> type[TyperCommand]:
    """A command that takes letters which its help does not show for the options that they are of."""

    class Lettered(TyperCommand):
        def make_parser(self, ctx: Any) -> Any:
            parser: Any = super().make_parser(ctx)
            for letter, option in letters.items():
                parser._short_opt[letter] = parser._long_opt[option]
            return parser

    return Lettered


def command_of(name: str, module: str) -> Any:
    """A command made of the function, or the group made of the `typer.Typer`, in its module."""
    member = getattr(import_module(f"lazarus_probe.cli.{module}"), name.replace("-", "_"))
    if isinstance(member, typer.Typer):
        group = typer.main.get_group(member)
        group.name = name
        return group
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, cls=lettered(OTHER_LETTERS.get(module, {})))(member)
    return typer.main.get_command(app)
