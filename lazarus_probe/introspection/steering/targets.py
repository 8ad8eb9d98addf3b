"""What a model is steered to: words, counted in all their spellings, or a number; and how far it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mlx.core as mx

from lazarus_probe.introspection.steering.vectors import NextTokenMetrics
from lazarus_probe.subject.spellings import word_of
from lazarus_probe.tasks.arithmetic import parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def target_of(subject: Subject, target: str | None) -> tuple[dict[str, int], float | None]:
    """The tokens by spelling, and the number, that a target is; either may be missing.

    A word is all of its spellings that are one token, as `word_of` finds them; several have commas between them.

    Raises:
        ValueError: it is neither a number nor words of which each is one token in some spelling.
    """
    if target is None:
        return {}, None
    number = parse_number(target)
    words = [word.strip() for word in target.split(",") if word.strip()]
    if number is not None or len(words) < 2:
        words = [target]
    tokens: dict[str, int] = {}
    for word in words:
        try:
            tokens |= word_of(subject, word).tokens
        except ValueError as error:
            if number is None:
                raise ValueError(f"target {error}") from None
    return tokens, number


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
