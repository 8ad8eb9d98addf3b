"""Sets of prompts read from files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMS = 'give {"prompts": [{"text": ...}]}, a JSON list of texts, or a text file with one prompt a line'


@dataclass(frozen=True)
class PromptSet:
    """N prompts, exactly as they stood in the file, and what was said about each; None where nothing was."""

    texts: tuple[str, ...]
    labels: tuple[Any, ...]
    categories: tuple[Any, ...]


def read_prompts(path: Path) -> PromptSet:
    """Read `{"prompts": [{"text", "label", "category"}]}`, a JSON list of texts, or lines of text.

    Lines lose their line break and nothing else: a prompt's spaces at either end are part of it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is in none of these forms, holds no prompts, or an empty one.
    """
    text = path.read_text(encoding="utf-8")
    items = _from_json(path, text) if path.suffix == ".json" else _lines(text)
    if not items:
        raise ValueError(f"{path} holds no prompts; {FORMS}")
    found = [_item(path, number, item) for number, item in enumerate(items)]
    texts, labels, categories = zip(*found, strict=True)
    return PromptSet(texts, labels, categories)


def _lines(text: str) -> list[Any]:
    # Split at line feeds only: other characters that Python takes for line breaks may be part of a prompt.
    return text.removesuffix("\n").split("\n") if text else []


def _from_json(path: Path, text: str) -> list[Any]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); {FORMS}") from None
    items = document.get("prompts") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise ValueError(f"{path} has no list of prompts; {FORMS}")
    return items


def _item(path: Path, number: int, item: Any) -> tuple[str, Any, Any]:
    fields = item if isinstance(item, dict) else {"text": item}
    text = fields.get("text")
    if not isinstance(text, str) or not text:
        raise ValueError(f"{path}: prompt {number} has the text {text!r}; at least one character is needed")
    return text, fields.get("label"), fields.get("category")
