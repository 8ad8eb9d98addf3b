"""Pairs of prompts that patching goes between, and the two tokens whose logits separate them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.introspection.patching.pair_files import read_pairs

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class PromptPair:
    """A source to patch from and a target to patch into.

    Attributes:
        source: the prompt.
        target: the prompt, with as many tokens.
        answer: a word of one token that the source speaks for; None for what the model says to it.
        other: a word of one token that the target speaks for; None for what the model says to it.

    Example:
        >>> from lazarus_probe.introspection import PromptPair
        >>> pair = PromptPair(source="7*8=", target="7+8=", answer="56", other="15")
        >>> len(subject.encode(pair.source)) == len(subject.encode(pair.target))
        True
    """

    source: str
    target: str
    answer: str | None = None
    other: str | None = None


def read_prompt_pairs(path: Path) -> list[PromptPair]:
    """The pairs in a file, as `read_pairs` has them; answers that it may also spell are left out.

    Raises:
        OSError: as `read_pairs`.
        ValueError: as `read_pairs`, or an empty word.
    """
    found = read_pairs(path)
    for number, pair in enumerate(found):
        empty = [key for key in ("answer", "other") if pair.get(key) == ""]
        if empty:
            raise ValueError(f"{path}: {empty[0]} of pair {number} is empty; give a word, or leave it out")
    return [
        PromptPair(str(pair["source"]), str(pair["target"]), pair.get("answer"), pair.get("other"))
        for pair in found
    ]


@dataclass(frozen=True)
class Tokens:
    """Of each pair the token that the source speaks for, and that of the target."""

    answers: tuple[int, ...]
    others: tuple[int, ...]


def tokens_of(subject: Subject, pairs: Sequence[PromptPair]) -> Tokens:
    """The tokens of each pair: those given, else what the model says to the source and to the target.

    Raises:
        ValueError: a word that is no single token, a pair of unequal token lengths, or one whose two tokens are equal.
    """
    if not pairs:
        raise ValueError("no pairs; give at least one source and target")
    for number, pair in enumerate(pairs):
        lengths = len(subject.encode(pair.source)), len(subject.encode(pair.target))
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"pair {number}: the source has {lengths[0]} tokens and the target {lengths[1]}; "
                "patch between prompts of equal length"
            )
    answers = _words(subject, [pair.answer for pair in pairs], [pair.source for pair in pairs])
    others = _words(subject, [pair.other for pair in pairs], [pair.target for pair in pairs])
    for number, (answer, other) in enumerate(zip(answers, others, strict=True)):
        if answer == other:
            raise ValueError(
                f"pair {number}: source and target both lead to {subject.decode([answer])!r}; "
                "give two tokens with --answer and --other, or other prompts"
            )
    return Tokens(tuple(answers), tuple(others))


def said(subject: Subject, prompts: Sequence[str]) -> list[int]:
    """The most likely next token of each prompt."""
    import mlx.core as mx

    from lazarus_probe.anatomy.forward_pass import forward
    from lazarus_probe.subject.batches import by_length, encode_all
    from lazarus_probe.subject.finite import require_finite

    found = [0] * len(prompts)
    for indices, tokens in by_length(encode_all(subject, prompts)):
        logits = require_finite(subject, tokens, forward(subject.model, tokens)[:, -1])
        tops: Any = mx.argmax(logits, axis=-1).tolist()
        for index, top in zip(indices, tops, strict=True):
            found[index] = top
    return found


def _words(subject: Subject, words: Sequence[str | None], prompts: Sequence[str]) -> list[int]:
    tops = said(subject, prompts) if None in words else [0] * len(words)
    return [
        top if word is None else subject.single_token(word) for word, top in zip(words, tops, strict=True)
    ]
