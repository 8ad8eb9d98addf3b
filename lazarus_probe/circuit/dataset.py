"""Sets of prompts read from files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text

FORMS = 'give {"prompts": [{"text": ...}]}, a JSON list of texts, or a text file with one prompt a line'
# The fields of a prompt, besides its text.
ABOUT = ("label", "category", "label_name", "expected_output", "group")


@dataclass(frozen=True)
class PromptSet:
    """N prompts, exactly as in the file, with the labels and names of each; None where there is none.

    Attributes:
        texts: (N,) prompts.
        labels: (N,) classes: texts or numbers.
        categories: (N,) finer classes, such as the tool that is wanted.
        label_names: (N,) what the label of each is called.
        expected: (N,) the expected continuation of each.
        groups: (N,) the template of each; never split between train and test.
        name: of the set.
        names: by label, as text, what it is called in the set.
    """

    texts: tuple[str, ...]
    labels: tuple[Any, ...]
    categories: tuple[Any, ...]
    label_names: tuple[Any, ...] = ()
    expected: tuple[Any, ...] = ()
    groups: tuple[Any, ...] = ()
    name: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("label_names", "expected", "groups"):
            if not getattr(self, name):
                object.__setattr__(self, name, (None,) * len(self.texts))

    def called(self, label: Any) -> str:
        """What a label is called: by its prompts, else by the set, else itself."""
        pairs = zip(self.labels, self.label_names, strict=True)
        name = next((name for labelled, name in pairs if labelled == label and name), None)
        return str(name or self.names.get(str(label), label))


def read_prompts(path: Path) -> PromptSet:
    """Read `{"prompts": [{"text", "label", "category", "group"}]}`, a JSON list of texts, or lines of text.

    Lines lose their line break and nothing else: a prompt's spaces at either end are part of it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is in none of these forms, holds no prompts, or an empty one.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}); {FORMS}") from None
    document: Any = None
    if path.suffix == ".json":
        document, items = _from_json(path, text)
    else:
        # Split at line feeds only, with the carriage return before one: other characters that Python takes for line
        # breaks may be part of a prompt.
        lines = text.removesuffix("\n").split("\n") if text else []
        items = [line.removesuffix("\r") for line in lines]
    if not items:
        raise ValueError(f"{path} holds no prompts; {FORMS}")
    rows = [_item(path, number, item) for number, item in enumerate(items)]
    texts, labels, categories, label_names, expected, groups = zip(*rows, strict=True)
    return PromptSet(texts, labels, categories, label_names, expected, groups, *_of_set(document))


def _from_json(path: Path, text: str) -> tuple[Any, list[Any]]:
    try:
        document = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); {FORMS}") from None
    items = document.get("prompts") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ValueError(f"{path} has no list of prompts; {FORMS}")
    return document, items


def _of_set(document: Any) -> tuple[str | None, dict[str, str]]:
    """The name of a set and the names of its labels, where it says them: a mapping, or a list from 0."""
    if not isinstance(document, dict):
        return None, {}
    name, names = document.get("name"), document.get("label_names")
    pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    return (name if isinstance(name, str) else None), {str(key): str(value) for key, value in pairs}


def _item(path: Path, number: int, item: Any) -> tuple[Any, ...]:
    fields = item if isinstance(item, dict) else {"text": item}
    text = fields.get("text")
    if not isinstance(text, str) or not text:
        raise ValueError(f"{path}: prompt {number} has the text {text!r}; at least one character is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: prompt {number} is not valid Unicode; give it as UTF-8") from None
    for name in ABOUT:
        if not is_plain(fields.get(name)):
            raise ValueError(
                f"{path}: prompt {number} has the {name} {fields[name]!r}; give a text or a number"
            )
    return text, *(fields.get(name) for name in ABOUT)


def is_plain(value: Any) -> bool:
    """Whether it is text, a finite number, or None."""
    return isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value))
