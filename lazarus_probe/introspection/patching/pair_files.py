"""Files of pairs of prompts: to patch from, and to patch into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text
from lazarus_probe.spelling import one_of

FORMS = 'give lines "source => target", or JSON with [{"source": ..., "target": ...}]'
PROMPTS = ("source", "target")
# What further may be said of a pair: its answers as they are spelt, the tokens that begin them, its independent unit.
KEYS = (*PROMPTS, "expected_source", "expected_target", "answer", "other", "group")


def read_pairs(path: Path) -> list[dict[str, str | None]]:
    """The pairs in a file: lines `source => target`, or `.jsonl`, or `.json` with a list (or one under "pairs").

    Each is an object with source, target and, if wanted, any other of `KEYS`. Prompts keep their spaces: only the one
    on either side of `=>` is left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is of none of these forms, or holds no pairs; the message says which pair is wrong.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8; {FORMS}") from None
    items = _json_items(path, text) if path.suffix in (".json", ".jsonl") else _line_items(text)
    if not items:
        raise ValueError(f"{path} holds no pairs; {FORMS}")
    return [_fields(path, number, item) for number, item in enumerate(items)]


def _line_items(text: str) -> list[Any]:
    found = []
    for line in text.removesuffix("\n").split("\n") if text else []:
        source, arrow, target = line.removesuffix("\r").partition(" => ")
        found.append({"source": source, "target": target} if arrow else line)
    return found


def _json_items(path: Path, text: str) -> list[Any]:
    try:
        if path.suffix == ".jsonl":
            return [parse_json(line) for line in text.split("\n") if line.strip()]
        document = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({str(error).splitlines()[0]}); {FORMS}") from None
    items = document.get("pairs") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ValueError(f"{path} has no list of pairs; {FORMS}")
    return items


def _fields(path: Path, number: int, item: Any) -> dict[str, str | None]:
    if not isinstance(item, dict) or not {*PROMPTS} <= item.keys():
        raise ValueError(f"{path}: pair {number} is {str(item)[:60]!r}; {FORMS}")
    unknown = [key for key in item if key not in KEYS]
    if unknown:
        raise ValueError(f"{path}: pair {number} has {unknown[0]!r}; {one_of(unknown[0], KEYS)}")
    values = {key: str(value) if isinstance(value, int | float) else value for key, value in item.items()}
    for key, value in values.items():
        wanted = key in PROMPTS
        if not isinstance(value, str) and (wanted or value is not None):
            raise ValueError(f"{path}: {key} of pair {number} is {value!r}; a text is needed")
        if wanted and not value:
            raise ValueError(f"{path}: {key} of pair {number} is empty; give at least one character")
    return values
