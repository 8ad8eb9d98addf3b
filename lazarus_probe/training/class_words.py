"""Training and held-out arithmetic questions for the dual reward, and a model's readings on them.

Entire operand families are held out: if `7 * 8` is, so are `8 * 7`, `7 + 8`, `15 - 7` and `56 / 8`. A class word on top
of the lens for them was not memorised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import OPERATIONS, Fact, facts, is_answer
from lazarus_probe.tasks.prompts import Question

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# The prompts of the published evaluation.
PUBLISHED = (
    Fact("multiply", 7, 8), Fact("multiply", 12, 5), Fact("add", 23, 45), Fact("add", 17, 38),
    Fact("subtract", 50, 23), Fact("subtract", 89, 34), Fact("divide", 48, 6), Fact("divide", 81, 9),
)  # fmt: skip
PHRASING = "spaced"
HELD_OUT_SHARE = 0.2
# The same families are held out in every run, so that runs of several seeds are evaluated on the same questions.
SPLIT_SEED = 55
ANSWER_TOKENS = 8
ROWS = 64


def held_out_families() -> frozenset[tuple[int, int]]:
    """A fifth of the operand families, drawn with a fixed seed, and the families of the published prompts."""
    everything = sorted({fact.family for name in OPERATIONS for fact in facts(name)})
    order = np.random.default_rng(SPLIT_SEED).permutation(len(everything))
    drawn = {everything[i] for i in order[: round(HELD_OUT_SHARE * len(everything))]}
    return frozenset(drawn | {fact.family for fact in PUBLISHED})


def training_questions(count: int, seed: int = 0) -> list[Question]:
    """`count` distinct questions, balanced over operations, from families that are not held out.

    Raises:
        ValueError: fewer than one per operation, or more than there are.
    """
    if count < len(OPERATIONS):
        raise ValueError(f"{count} samples are too few: give at least {len(OPERATIONS)}, one per operation")
    held_out, rng = held_out_families(), np.random.default_rng(seed)
    pools = [[fact for fact in facts(name) if fact.family not in held_out] for name in OPERATIONS]
    most = len(pools) * min(map(len, pools))
    if count > most:
        raise ValueError(
            f"{count} samples are more than there are: {most} at most outside the held-out families"
        )
    drawn = []
    for index, pool in enumerate(pools):
        size = count // len(pools) + (index < count % len(pools))
        drawn += [pool[i] for i in rng.choice(len(pool), size=size, replace=False)]
    return _as_questions(drawn)


def held_out_questions(per_operation: int, seed: int = 0) -> list[Question]:
    """Questions from held-out families, at most one per family and operation, without the published ones.

    Raises:
        ValueError: fewer than two per operation, which allow no interval, or more than there are.
    """
    if per_operation < 2:
        raise ValueError(f"{per_operation} held-out questions per operation are too few: give at least 2")
    rng = np.random.default_rng([SPLIT_SEED, seed])
    held_out = held_out_families() - {fact.family for fact in PUBLISHED}
    drawn = []
    for name in OPERATIONS:
        pool = [fact for fact in facts(name) if fact.family in held_out]
        of_family = {pool[i].family: pool[i] for i in rng.permutation(len(pool))}
        if per_operation > len(of_family):
            raise ValueError(
                f"{per_operation} held-out questions per operation are more than there are: "
                f"{len(of_family)} at most for {name}"
            )
        drawn += list(of_family.values())[:per_operation]
    return _as_questions(drawn)


def published_questions() -> list[Question]:
    """The eight prompts of the published evaluation."""
    return _as_questions(PUBLISHED)


def _as_questions(chosen: Sequence[Fact]) -> list[Question]:
    return [Question(fact.prompt(PHRASING), fact, PHRASING) for fact in chosen]


@dataclass(frozen=True, eq=False)
class Reading:
    """Readings on N questions.

    Attributes:
        top: (N,) the lens's top token, over the full vocabulary.
        named: (N,) whether that is the token of the class word.
        probability: (N,) of the class word by the lens.
        answered: (N,) whether the greedy answer is right.
    """

    top: NDArray[np.int64]
    named: NDArray[np.bool_]
    probability: NDArray[np.float64]
    answered: NDArray[np.bool_]


def read(subject: Subject, questions: Sequence[Question], tokens: Mapping[str, int], layer: int) -> Reading:
    """The lens after `layer` at the last token of each prompt, and the model's answer."""
    slices = [questions[start : start + ROWS] for start in range(0, len(questions), ROWS)]
    parts = [_read(subject, part, tokens, layer) for part in slices]
    return Reading(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _read(
    subject: Subject, questions: Sequence[Question], tokens: Mapping[str, int], layer: int
) -> tuple[NDArray[Any], ...]:
    texts = [question.text for question in questions]
    log_probs = logit_lens(subject, texts, [layer]).log_probs[:, 0]
    wanted = np.array([tokens[question.fact.operation] for question in questions])
    top = log_probs.argmax(axis=-1)
    answers = greedy(subject, texts, ANSWER_TOKENS)
    answered = [is_answer(text, q.fact.answer) for text, q in zip(answers, questions, strict=True)]
    probability = np.exp(log_probs[np.arange(len(wanted)), wanted].astype(np.float64))
    return top, top == wanted, probability, np.array(answered)


@dataclass(frozen=True)
class Share:
    """A share of questions with its 95% interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The same n questions before and after training.

    Attributes:
        operation: of the questions, or `all`.
        n: number of questions.
        named_before: the share with the class word on top of the lens.
        named_after: the same after training.
        probability_before: the mean probability of the class word by the lens.
        probability_after: the same after training.
        answered_before: the share answered correctly.
        answered_after: the same after training.
        answers_change: the mean paired difference of the answers, after minus before.
    """

    operation: str
    n: int
    named_before: Share
    named_after: Share
    probability_before: float
    probability_after: float
    answered_before: Share
    answered_after: Share
    answers_change: Share

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def compare(questions: Sequence[Question], before: Reading, after: Reading) -> list[Comparison]:
    """Before versus after training, by operation and overall; operand families are the independent units."""
    operations = [question.fact.operation for question in questions]
    rows = [(name, np.array([other == name for other in operations])) for name in dict.fromkeys(operations)]
    families = np.array([question.family for question in questions])
    rows.append(("all", np.ones(len(questions), bool)))
    return [_compared(name, families[of], _rows(before, of), _rows(after, of)) for name, of in rows]


def _rows(reading: Reading, of: NDArray[np.bool_]) -> Reading:
    return Reading(reading.top[of], reading.named[of], reading.probability[of], reading.answered[of])


def _compared(name: str, families: NDArray[np.str_], before: Reading, after: Reading) -> Comparison:
    change = after.answered.astype(float) - before.answered
    interval = paired_interval(change, families)
    return Comparison(
        operation=name,
        n=len(families),
        named_before=_share(before.named, families),
        named_after=_share(after.named, families),
        probability_before=float(before.probability.mean()),
        probability_after=float(after.probability.mean()),
        answered_before=_share(before.answered, families),
        answered_after=_share(after.answered, families),
        answers_change=Share(float(change.mean()), interval.low, interval.high),
    )


def _share(values: NDArray[np.bool_], families: NDArray[np.str_]) -> Share:
    interval = proportion_interval(values, families)
    return Share(float(values.mean()), interval.low, interval.high)
