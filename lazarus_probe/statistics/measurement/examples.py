"""Prompts behind a number, for a reader: some that were scored, and those on which a claim fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lazarus_probe.statistics.measurement.checks import check_interval


@dataclass(frozen=True)
class Example:
    """One prompt behind a number.

    Attributes:
        prompt: as the model met it.
        expected: what would be right.
        said: what the model said.
        counted: whether the score counts it.
    """

    prompt: str
    expected: str
    said: str
    counted: bool


def some_examples(
    prompts: Sequence[str],
    expected: Sequence[object],
    said: Sequence[object],
    counted: Sequence[bool] | Any,
    most: int = 12,
) -> tuple[Example, ...]:
    """At most `most` of the prompts, for a report: half of them such as the score does not count, if there are.

    Raises:
        ValueError: lengths that differ.
    """
    rows = [
        Example(str(prompt), str(right), str(answer), bool(counts))
        for prompt, right, answer, counts in zip(prompts, expected, said, counted, strict=True)
    ]
    misses, hits = ([row for row in rows if row.counted is side] for side in (False, True))
    few = misses[: max(most // 2, most - len(hits))]
    return (*few, *hits[: most - len(few)])


@dataclass(frozen=True)
class Counterexample:
    """Prompts on which a claim fails, found by a search and confirmed on fresh ones.

    Attributes:
        where: the prompt, or the slice of prompts, in words.
        examples: fresh prompts from there, with what the model said.
        score: what the claim's score is on the fresh prompts.
        low: lower end of its interval.
        high: upper end.
        n: how many fresh prompts.
    """

    where: str
    examples: tuple[Example, ...]
    score: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        check_interval(f"counterexample {self.where!r}", "score", self.score, self.low, self.high)
