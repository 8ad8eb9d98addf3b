"""Prompts with a part that is blocked or corrupted, such as the subject of a fact; and files of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text
from lazarus_probe.introspection.generation.spelled import spelled_after
from lazarus_probe.introspection.patching.encoded_pairs import next_tokens
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.spans import Span, span

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

FORM = 'give a JSON list, or a line each, of {"prompt": ..., "part": ...}, optionally with answer, other and group'


@dataclass(frozen=True)
class SpannedPrompt:
    """A prompt, a part of it, and what it should be followed by.

    Attributes:
        prompt: the text.
        part: a text in it, which occurs once.
        answer: the word that should follow; None for the model's own next token.
        other: a word to compare the answer with.
        group: the independent unit that the prompt belongs to; None for the prompt itself.

    Example:
        >>> from lazarus_probe.introspection import SpannedPrompt
        >>> SpannedPrompt("7*8=", part="7", answer="56", other="15").part
        '7'
    """

    prompt: str
    part: str
    answer: str | None = None
    other: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class EncodedSpans:
    """P prompts that are encoded.

    Attributes:
        ids: (P,) token ids of each.
        spans: (P,) the tokens of each part.
        answers: (P,) the token that should follow.
        others: (P,) the token that it is compared with; None where a prompt has none.
        units: (P,) the independent unit of each.
        form: how the words are written, one of `subject.spellings.FORMS`; None where they are not written in one.
    """

    ids: tuple[tuple[int, ...], ...]
    spans: tuple[Span, ...]
    answers: tuple[int, ...]
    others: tuple[int, ...] | None
    units: tuple[str, ...]
    form: str | None


def encode_spans(subject: Subject, prompts: Sequence[SpannedPrompt]) -> EncodedSpans:
    """Token ids, spans and single tokens of prompts; words in the likeliest spelling that all of them have.

    Raises:
        ValueError: no prompts, a part that is not there once or shares a token, a word that is one token in no
            spelling, an answer that equals its other, or `other` for some prompts and not for all.
    """
    if not prompts:
        raise ValueError("no prompts; give at least one with a part")
    if 0 < sum(item.other is not None for item in prompts) < len(prompts):
        raise ValueError("some prompts have an other word and some have none; give it for all, or for none")
    spans = tuple(span(subject, item.prompt, item.part) for item in prompts)
    ids = tuple(tuple(subject.encode(item.prompt)) for item in prompts)
    words = [(row, word) for row, item in enumerate(prompts) for word in (item.answer, item.other) if word]
    texts = [word for _, word in words]
    spelled = spelled_after(subject, [ids[row] for row, _ in words], texts) if words else None
    tokens = iter(spelled.tokens if spelled else ())
    unanswered = [ids[row] for row, item in enumerate(prompts) if not item.answer]
    tops = iter(next_tokens(subject, unanswered) if unanswered else ())
    answers, others = list[int](), list[int]()
    for item in prompts:
        answers.append(next(tokens if item.answer else tops))
        others += [next(tokens)] if item.other else []
        if item.other and others[-1] == answers[-1]:
            raise ValueError(f"the answer and the other word of {item.prompt[:60]!r} are one token; give two")
    return EncodedSpans(
        ids,
        spans,
        tuple(answers),
        tuple(others) or None,
        tuple(item.group or item.prompt for item in prompts),
        spelled.form if spelled else None,
    )


def read_spanned(path: Path) -> list[SpannedPrompt]:
    """The prompts in a file of JSON or of JSON lines.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has another form, or no prompts; the message names the wrong one.
    """
    try:
        text = read_text(path)
        lines = [line for line in text.split("\n") if line.strip()]
        items: Any = [parse_json(line) for line in lines] if path.suffix == ".jsonl" else parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({str(error).splitlines()[0]}); {FORM}") from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} holds no prompts; {FORM}")
    return [_spanned(path, number, item) for number, item in enumerate(items)]


def _spanned(path: Path, number: int, item: Any) -> SpannedPrompt:
    keys = [field.name for field in fields(SpannedPrompt)]
    if not isinstance(item, dict) or not {"prompt", "part"} <= item.keys():
        raise ValueError(f"{path}: prompt {number} is {str(item)[:60]!r}; {FORM}")
    for key, value in item.items():
        if key not in keys:
            raise ValueError(f"{path}: prompt {number} has {key!r}; {one_of(key, keys)}")
        if not isinstance(value, str) or not value:
            raise ValueError(f"{path}: {key} of prompt {number} is {value!r}; a text is needed")
    return SpannedPrompt(**item)
