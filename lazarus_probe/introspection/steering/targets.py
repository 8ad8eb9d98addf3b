"""What a model is steered to: words, counted in all their spellings, or a number; and how far it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mlx.core as mx

from lazarus_probe.introspection.steering.vectors import NextTokenMetrics
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks.arithmetic import parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def target_of(subject: Subject, target: str | None) -> tuple[tuple[int, ...], float | None]:
    """The tokens and the number that a target is; either may be missing.

    A word counts in all its spellings (`subject.word_of`). One with its space, or in quotes, counts alone; of words
    separated by commas the space after a comma is none of theirs.

    Raises:
        ValueError: it is neither a number nor words of which each is one token in some spelling.
    """
    if target is None:
        return (), None
    number = parse_number(target)
    words = [target]
    if number is None and "," in target:
        words = [word.strip() for word in target.split(",") if word.strip()] or words
    tokens: list[int] = []
    for word in words:
        spelt = spellings(subject, word)
        if not spelt and number is None:
            raise ValueError(
                f"target {word!r} is not one token of {subject.name} in any spelling; give a word that is, or a number"
            )
        tokens += spelt
    # Two words may share a spelling.
    return tuple(dict.fromkeys(tokens)), number


def target_metrics(tokens: Sequence[int]) -> NextTokenMetrics:
    """KL from unsteered, and with target tokens their log-odds, probability and logit difference from their rival."""

    def metrics(after: mx.array, before: mx.array) -> dict[str, mx.array]:
        # Rounding of very improbable tokens may make the sum negative.
        values = {"kl": mx.maximum((mx.exp(before) * (before - after)).sum(axis=-1), 0)}
        if tokens:
            vocabulary, chosen = mx.arange(before.shape[-1]), mx.array(list(tokens))
            counted = (vocabulary[:, None] == chosen).any(axis=1)
            rival = mx.argmax(mx.where(counted, -mx.inf, before), axis=-1)[:, None]
            target = mx.logsumexp(after[:, chosen], axis=-1)
            values["target_log_odds"] = target - mx.logsumexp(mx.where(counted, -mx.inf, after), axis=-1)
            values["target_probability"] = mx.exp(target)
            values["target_logit_diff"] = target - mx.take_along_axis(after, rival, axis=-1)[:, 0]
        return values

    return metrics
