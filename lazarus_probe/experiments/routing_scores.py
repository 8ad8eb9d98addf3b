"""Scores of routers with intervals over phrasings, and the latency of routed and unrouted answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.experiments.routers import NAMES, Routing, Sides, decided
from lazarus_probe.experiments.virtual_expert import Expert, answer, class_words, own_answer, upto
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.training.sft.labels import operation_in

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval over phrasings; the interval is None where there are fewer than two."""

    share: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.share:.2f}{interval}"


@dataclass(frozen=True)
class Score:
    """The scores of one router.

    Attributes:
        name: of the router.
        rate: share of the prompts that it routes to the calculator.
        precision: share of the routed prompts that are arithmetic; None where nothing is routed.
        recall: share of the arithmetic prompts that are routed.
        decisions: share of the decisions that are right.
        answers: share of the answers that are right, by model or calculator.
        routed_by_kind: share of each kind of prompt that is routed.
        answers_by_kind: share of right answers for each kind.
        threshold: on the router's score, where it has one.
    """

    name: str
    rate: float
    precision: Share | None
    recall: Share
    decisions: Share
    answers: Share
    routed_by_kind: Mapping[str, float]
    answers_by_kind: Mapping[str, float]
    threshold: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def score(routing: Routing, sides: Sides) -> Score:
    """The scores of one router; phrasings are the independent units."""
    wanted = np.array([example.calculable for example in sides.measure])
    templates = np.array([example.template for example in sides.measure])
    sent = routing.routed > 0
    # A random router may route any prompt, so its precision is the share of arithmetic among all prompts.
    precision = _share(wanted[sent], templates[sent]) if sent.any() else None
    return Score(
        name=routing.name,
        rate=float(routing.routed.mean()),
        precision=precision,
        recall=_share(routing.routed[wanted], templates[wanted]),
        decisions=_share(decided(routing, sides), templates),
        answers=_share(routing.answered, templates),
        routed_by_kind=_by_kind(routing.routed, sides),
        answers_by_kind=_by_kind(routing.answered, sides),
        threshold=routing.threshold,
    )


def _share(values: ArrayLike, units: NDArray[Any]) -> Share:
    numbers = np.asarray(values, float)
    mean = float(numbers.mean())
    if len(np.unique(units)) < 2:
        return Share(mean, None, None)
    interval = paired_interval(numbers, units)
    return Share(mean, max(0.0, interval.low), min(1.0, interval.high))


def _by_kind(values: NDArray[np.float64], sides: Sides) -> dict[str, float]:
    kinds = np.array([example.kind for example in sides.measure])
    return {str(kind): float(values[kinds == kind].mean()) for kind in dict.fromkeys(kinds.tolist())}


@dataclass(frozen=True)
class Latency:
    """Times relative to the model's own answer to the same prompt: medians over prompts.

    Attributes:
        calculated: of a routed answer that the calculator gives.
        passed_on: of an answer that the model gives after the signal was read.
        decisions: of the decision alone: by the lens, by a linear probe of the same residual stream, and by a regular
            expression.
        prompts: number of prompts timed.
        rounds: timings per prompt.
    """

    calculated: float
    passed_on: float
    decisions: Mapping[str, float]
    prompts: int
    rounds: int


def latency(
    subject: Subject, expert: Expert, calculated: Sequence[str], passed_on: Sequence[str], rounds: int = 5
) -> Latency:
    """Time routed answers and the model's own in turn, on prompts that the calculator answers and on others.

    Args:
        subject: the model with the signal.
        expert: when the calculator answers.
        calculated: prompts that it answers.
        passed_on: prompts that the model answers.
        rounds: timings of each method on each prompt, of which the median is taken.

    Raises:
        ValueError: no prompts of one kind, or no rounds.
    """
    if not calculated or not passed_on or rounds < 1:
        raise ValueError(
            f"{len(calculated)} prompts for the calculator, {len(passed_on)} for the model, {rounds} rounds: "
            "at least one of each is needed"
        )
    weights = np.zeros((subject.anatomy.hidden_size, 1 + len(NAMES)), np.float32)
    routed, own = partial(answer, subject, expert), partial(own_answer, subject)
    methods: dict[str, Callable[[str], Any]] = {
        "routed": routed,
        "lens": lambda prompt: class_words(subject, upto(subject, expert.layer, prompt), expert.tokens),
        "probe": lambda prompt: (
            np.array(upto(subject, expert.layer, prompt)[0, 0].astype(mx.float32)) @ weights
        ),
        "regex": operation_in,
    }
    ratios = _ratios(methods, own, calculated, rounds)
    model_ratios = _ratios({"routed": routed}, own, passed_on, rounds)
    return Latency(
        calculated=ratios.pop("routed"),
        passed_on=model_ratios["routed"],
        decisions=ratios,
        prompts=len(calculated) + len(passed_on),
        rounds=rounds,
    )


def _ratios(
    methods: Mapping[str, Callable[[str], Any]],
    own: Callable[[str], Any],
    prompts: Sequence[str],
    rounds: int,
) -> dict[str, float]:
    """The median over prompts of each method's median time relative to the model's own answer; timed in turn."""
    timed = {"own": own, **methods}
    times = np.zeros((rounds + 1, len(prompts), len(timed)))
    for turn in range(rounds + 1):
        for i, prompt in enumerate(prompts):
            for j, method in enumerate(timed.values()):
                began = time.perf_counter()
                method(prompt)
                times[turn, i, j] = time.perf_counter() - began
    medians = np.median(times[1:], axis=0)  # the first round warms up
    shares = np.median(medians[:, 1:] / medians[:, :1], axis=0)
    return {name: float(share) for name, share in zip(methods, shares, strict=True)}
