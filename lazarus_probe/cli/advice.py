"""Error messages of the command line: what was wrong, the likely intent, and where to read more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lazarus_probe.spelling import nearest

# As typer words them; where it words them differently, there is no suggestion and its message stands.
NO_COMMAND = re.compile(r"No such command '(?P<name>[^']+)'")
NO_CHOICE = re.compile(r"'(?P<name>[^']*)' is not one of (?P<choices>.+)")
QUOTED = re.compile(r"'([^']*)'")


def is_bare(error: Any, context: Any) -> bool:
    """Whether a group was called without a command."""
    missing = str(getattr(error, "message", "")).startswith("Missing command")
    return missing and context is not None and hasattr(context.command, "list_commands")


def advised(error: Any, context: Any) -> str:
    """The message of an error of typer's in one line, with what was probably meant and the help to read.

    Args:
        error: the error.
        context: of the command that it is about; None where there is none.
    """
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    guess, message = _guess(error, context, message)
    see = f"see `{context.command_path} --help`" if context else ""
    if guess:
        return f"{message}; did you mean {guess}? {see}".rstrip()
    return f"{message}; {see}" if see else message


def _guess(error: Any, context: Any, message: str) -> tuple[str | None, str]:
    """What was probably meant, and the message without what typer itself suggests."""
    if getattr(error, "possibilities", None):
        return nearest(error.option_name, error.possibilities), str(error.message).rstrip(".")
    if match := NO_COMMAND.search(message):
        return (_command_like(match["name"], context) if context else None), match[0]
    if match := NO_CHOICE.search(message):
        return nearest(match["name"], QUOTED.findall(match["choices"])), message
    return None, message


def _command_like(name: str, context: Any) -> str | None:
    """The command of a group that is most like a name, or the one of that very name in a group within it."""
    group, path = context.command, context.command_path
    if close := nearest(name, group.list_commands(context)):
        return f"`{path} {close}`"
    return next(
        (f"`{path} {inner} {name}`" for inner, names in _groups(group, context) if name in names), None
    )


def _groups(group: Any, context: Any) -> Iterator[tuple[str, list[str]]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield name, command.list_commands(context)
