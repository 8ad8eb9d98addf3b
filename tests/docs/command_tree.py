"""Every command of the package, as its own help knows it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from lazarus_probe.cli import circuit, lazarus


@dataclass(frozen=True)
class Option:
    """One option: its names, and the two columns that help shows of it."""

    names: tuple[str, ...]
    spelt: str
    help: str


@dataclass(frozen=True)
class Command:
    """A command: the words that call it, its help, and its options."""

    words: tuple[str, ...]
    help: str
    options: tuple[Option, ...]

    @property
    def name(self) -> str:
        return " ".join(self.words)

    @property
    def page(self) -> str:
        """The name of its page."""
        return "-".join(self.words) + ".md"


def commands() -> list[Command]:
    """All of them, groups left out."""
    apps = {"lazarus": lazarus.app, "circuit": circuit.app}
    return [found for name, app in apps.items() for found in _below((name,), typer.main.get_command(app))]


def _below(words: tuple[str, ...], command: Any) -> Iterator[Command]:
    context = _context(command, words[-1])
    if not hasattr(command, "list_commands"):
        yield Command(words, inspect.cleandoc(command.help or ""), _options(command, context))
        return
    for name in command.list_commands(context):
        yield from _below((*words, name), command.get_command(context, name))


def _context(command: Any, name: str) -> Any:
    # typer may carry its own copy of click: the class of contexts is the command's own.
    return command.context_class(command, info_name=name)


def _letters(command: Any, context: Any, parameter: Any) -> tuple[str, ...]:
    """Letters of an option that help does not show."""
    taken = command.make_parser(context)._short_opt
    return tuple(
        letter for letter, option in taken.items() if option.obj is parameter and letter not in parameter.opts
    )


def _options(command: Any, context: Any) -> tuple[Option, ...]:
    found = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if parameter.name != "help" and record is not None:
            names = (*parameter.opts, *parameter.secondary_opts, *_letters(command, context, parameter))
            found.append(Option(names, record[0], " ".join(record[1].split())))
    return tuple(found)
