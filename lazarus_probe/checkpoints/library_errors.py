"""Translating errors of the underlying libraries into terms of the checkpoint's files."""

from __future__ import annotations

import re
from pkgutil import iter_modules

from lazarus_probe.spelling import nearest

LACKS = re.compile(r"\w+\.__init__\(\) missing \d+ required positional arguments?: (?P<names>.+)")
NO_TYPE = re.compile(r"Model type (?P<name>\S+) not supported\.?")
OTHER_SHAPE = re.compile(
    r"Expected shape (?P<wanted>\(.*?\)) but received shape (?P<there>\(.*?\)) for parameter (?P<name>\S+)"
)
MISSING = re.compile(r"Missing (?P<count>\d+) parameters?: (?P<names>.+)")
LEFT_OVER = re.compile(r"Received (?P<count>\d+) parameters? not in model: (?P<names>.+)")
SHOWN = 3  # names of tensors in a message


def in_words(detail: str) -> str:
    """A known library error in terms of the checkpoint's files; any other error unchanged."""
    if match := LACKS.fullmatch(detail):
        return f"config.json lacks {match['names'].replace(chr(39), '')}"
    if match := NO_TYPE.fullmatch(detail):
        close = nearest(match["name"], _model_types())
        return f"mlx-lm has no model_type {match['name']!r}" + (f"; did you mean {close}?" if close else "")
    if match := OTHER_SHAPE.match(detail):
        return f"{match['name']} of the weights is {match['there']}, and by config.json it would be {match['wanted']}"
    if match := MISSING.match(detail):
        return f"the weights lack {match['count']} that config.json asks for: {_first(match['names'])}"
    if match := LEFT_OVER.match(detail):
        return f"the weights hold {match['count']} that mlx-lm's model has no place for: {_first(match['names'])}"
    return detail


def _first(names: str) -> str:
    tensors = re.split(r"[,\s]+", names.strip(" ."))
    return ", ".join(tensors[:SHOWN]) + (", ..." if len(tensors) > SHOWN else "")


def _model_types() -> list[str]:
    from mlx_lm import models

    return [module.name for module in iter_modules(models.__path__)]
