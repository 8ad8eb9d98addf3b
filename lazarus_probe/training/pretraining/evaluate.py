"""Accuracy of an organism's greedy answers on its training data and on held-out data."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from lazarus_probe.organisms import corpus
from lazarus_probe.organisms.corpus import Line
from lazarus_probe.statistics.intervals import Interval, wilson
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks import arithmetic

TRAINED = "trained facts, symbolic"
TRAINED_VERBAL = "trained facts, verbal"
HELD_OUT = "held-out facts, symbolic"
HELD_OUT_VERBAL = "held-out facts, trained verbal phrasings"
NEW_PHRASINGS = "trained facts, held-out phrasings"
NEW_BOTH = "held-out facts, held-out phrasings"
ARITHMETIC_SUBSETS = (TRAINED, TRAINED_VERBAL, HELD_OUT, HELD_OUT_VERBAL, NEW_PHRASINGS, NEW_BOTH)

SAMPLE = 1000
NUMBER_TOKENS, TEXT_TOKENS = 4, 24
ROWS = 128  # larger batches are slower on a CPU: each allocates fresh memory for its logits

# Lines without a prompt have no answer to score.
PLAIN_TEXT = ("english", "code")


@dataclass(frozen=True)
class Score:
    """The number of `n` prompts of one kind that were answered exactly."""

    task: str
    subset: str
    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The share of correct answers."""
        return self.correct / self.n

    @property
    def interval(self) -> Interval:
        """Wilson's 95% interval of the accuracy.

        It treats prompts as independent, which those of one fact in several phrasings are not.
        """
        return wilson(self.correct, self.n)

    def as_row(self) -> dict[str, str | int | float]:
        """Everything as plain values, for JSON."""
        interval = self.interval
        return {
            "task": self.task,
            "subset": self.subset,
            "n": self.n,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "low": interval.low,
            "high": interval.high,
        }


def evaluate(
    subject: Subject,
    tasks: Sequence[str] = tuple(corpus.MIXTURE),
    limit: int | None = None,
    on_score: Callable[[Score], None] = lambda _score: None,
) -> list[Score]:
    """Score a subject on every subset of the corpus' tasks.

    An arithmetic answer is right if the completion begins with the right number; a language answer if its text
    equals the line's response.

    Args:
        subject: a model with a tokenizer.
        tasks: the tasks of `corpus.MIXTURE`; those of plain text, which have no answers, are skipped.
        limit: lines per subset at most, drawn with a fixed seed; by default all of them, except for the
            verbal subsets of arithmetic, of which 1000 lines each are drawn.
        on_score: called with each score once it is computed.

    Raises:
        ValueError: an unknown task, or a `limit` below 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; at least 1 line per subset is needed")
    scores = []
    for task in tasks:
        for subset, lines in subsets(task).items():
            score = _score(subject, task, subset, _drawn(task, subset, lines, limit))
            on_score(score)
            scores.append(score)
    return scores


def subsets(task: str) -> dict[str, list[Line]]:
    """The lines of a task by subset: trained or held out, fact or phrasing; none for a task of plain text.

    Raises:
        ValueError: an unknown task.
    """
    if task in PLAIN_TEXT:
        return {}
    if task in arithmetic.OPERATIONS:
        return {subset: list(lines) for subset, lines in _arithmetic_subsets(task).items()}
    split = corpus.split(task)
    return {"trained": list(split.trained), "held-out combinations": list(split.held_out)}


@cache
def _arithmetic_subsets(operation: str) -> dict[str, list[Line]]:
    lines_by_subset: dict[str, list[Line]] = {}
    for fact in arithmetic.facts(operation):
        for phrasing in arithmetic.PHRASINGS:
            line = Line(operation, phrasing, fact.prompt(phrasing), fact.response(phrasing))
            lines_by_subset.setdefault(_subset(fact, phrasing), []).append(line)
    return {subset: lines_by_subset[subset] for subset in ARITHMETIC_SUBSETS if subset in lines_by_subset}


def _subset(fact: arithmetic.Fact, phrasing: str) -> str:
    new_fact = corpus.is_held_out(fact)
    if (phrasing, fact.operation) in corpus.HELD_OUT_PHRASINGS:
        return NEW_BOTH if new_fact else NEW_PHRASINGS
    if phrasing in arithmetic.SYMBOLIC:
        return HELD_OUT if new_fact else TRAINED
    return HELD_OUT_VERBAL if new_fact else TRAINED_VERBAL


def _drawn(task: str, subset: str, lines: list[Line], limit: int | None) -> list[Line]:
    complete = task not in arithmetic.OPERATIONS or subset in (TRAINED, HELD_OUT)
    size = limit or (len(lines) if complete else SAMPLE)
    if size >= len(lines):
        return lines
    return random.Random(f"{corpus.SEED} {task} {subset}").sample(lines, size)  # noqa: S311 - which to ask


def _score(subject: Subject, task: str, subset: str, lines: Sequence[Line]) -> Score:
    numbers = task in arithmetic.OPERATIONS
    lines = sorted(lines, key=lambda line: len(subject.encode(line.prompt)))
    prompts = [line.prompt for line in lines]
    new = NUMBER_TOKENS if numbers else TEXT_TOKENS
    slices = (prompts[start : start + ROWS] for start in range(0, len(prompts), ROWS))
    answers = [answer for batch in slices for answer in greedy(subject, batch, new)]
    right = _right_number if numbers else _right_text
    return Score(task, subset, len(lines), sum(map(right, answers, lines)))


def _right_number(answer: str, line: Line) -> bool:
    return arithmetic.is_answer(answer, int(line.response))


def _right_text(answer: str, line: Line) -> bool:
    return answer == line.response
