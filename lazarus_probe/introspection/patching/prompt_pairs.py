"""Pairs of prompts to patch between, and files of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text
from lazarus_probe.spelling import one_of

Answer = float | str
FORMS = 'give lines "source => target", or JSON with [{"source": ..., "target": ...}]'
PROMPTS = ("source", "target")
# Two ways to give the answers: as they are spelt, or by the single tokens that a metric compares.
SPELT = ("expected_source", "expected_target")
SINGLE_TOKENS = ("answer", "other")
KEYS = (*PROMPTS, *SPELT, *SINGLE_TOKENS, "group")


@dataclass(frozen=True)
class PromptPair:
    """Two prompts to patch between.

    Attributes:
        source: the prompt that is patched from.
        target: the prompt that is patched into.
        source_answer: the expected completion of the source, a number or words; None for the model's own.
        target_answer: the same for the target.
        group: the independent unit that the pair belongs to, such as its operands; None for the pair itself.

    Example:
        >>> from lazarus_probe.introspection import PromptPair
        >>> pair = PromptPair(source="7*8=", target="7+8=", source_answer="56", target_answer="15")
        >>> len(subject.encode(pair.source)) == len(subject.encode(pair.target))
        True
    """

    source: str
    target: str
    source_answer: Answer | None = None
    target_answer: Answer | None = None
    group: str | None = None


def quoted(prompt: str) -> str:
    """A prompt in an error message, cut where it is long."""
    return repr(prompt if len(prompt) <= 60 else f"{prompt[:59]}…")


def read_pairs(path: Path, answers: tuple[str, str] = SPELT) -> list[PromptPair]:
    """The pairs in a file: lines `source => target`, or `.jsonl`, or `.json` with a list (or one under "pairs").

    Each is an object with source, target and, optionally, any other of `KEYS`. Prompts keep their spaces, except the
    one on either side of `=>`.

    Args:
        path: the file.
        answers: the keys of the answers, `SPELT` or `SINGLE_TOKENS`; the other two are ignored.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has none of these forms, or no pairs; the message names the wrong pair.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; {FORMS}") from None
    items = _json_items(path, text) if path.suffix in (".json", ".jsonl") else _line_items(text)
    if not items:
        raise ValueError(f"{path} holds no pairs; {FORMS}")
    return [_pair(path, number, item, answers) for number, item in enumerate(items)]


def _line_items(text: str) -> list[Any]:
    items = []
    for line in text.removesuffix("\n").split("\n") if text else []:
        source, arrow, target = line.removesuffix("\r").partition(" => ")
        items.append({"source": source, "target": target} if arrow else line)
    return items


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


def _pair(path: Path, number: int, item: Any, answers: tuple[str, str]) -> PromptPair:
    if not isinstance(item, dict) or not {*PROMPTS} <= item.keys():
        raise ValueError(f"{path}: pair {number} is {str(item)[:60]!r}; {FORMS}")
    unknown = [key for key in item if key not in KEYS]
    if unknown:
        raise ValueError(f"{path}: pair {number} has {unknown[0]!r}; {one_of(unknown[0], KEYS)}")
    values = {key: str(value) if isinstance(value, int | float) else value for key, value in item.items()}
    for key, value in values.items():
        required = key in PROMPTS
        if not isinstance(value, str) and (required or value is not None):
            raise ValueError(f"{path}: {key} of pair {number} is {value!r}; a text is needed")
        if required and not value:
            raise ValueError(f"{path}: {key} of pair {number} is empty; give at least one character")
        if key in answers and answers == SINGLE_TOKENS and not value and value is not None:
            raise ValueError(f"{path}: {key} of pair {number} is empty; give a word, or leave it out")
    optional = (values.get(key) for key in (*answers, "group"))
    return PromptPair(values["source"], values["target"], *optional)
