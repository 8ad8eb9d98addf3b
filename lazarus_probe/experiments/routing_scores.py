"""How well routers route, in numbers with intervals over wordings, and how long an answer takes either way."""

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
from lazarus_probe.statistics import paired_interval
from lazarus_probe.training.sft.labels import operation_in

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval over wordings; the interval is None where there are fewer than two."""

    share: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.share:.2f}{interval}"


@dataclass(frozen=True)
class Score:
    """What a router comes to.

    Attributes:
        name: of the router.
        rate: how often it asks the calculator.
        precision: of what it sends there, the share that is arithmetic; None where it sends nothing.
        recall: of the arithmetic, the share that it sends there.
        decisions: the share of decisions that are right.
        answers: the share of answers that are right, by whoever gives them.
        routed_by_kind: how often it sends each kind of prompt to the calculator.
        answers_by_kind: the share of right answers to each kind.
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
    """The numbers of one router; wordings are the independent units."""
    wanted = np.array([each.calculable for each in sides.measure])
    templates = np.array([each.template for each in sides.measure])
    sent = routing.routed > 0
    # A random router sends every prompt at times: its precision is the share of arithmetic among all.
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
    kinds = np.array([each.kind for each in sides.measure])
    return {str(kind): float(values[kinds == kind].mean()) for kind in dict.fromkeys(kinds.tolist())}


@dataclass(frozen=True)
class Latency:
    """Times as shares of the time of the model's own answer to the same prompt: medians over prompts.

    Attributes:
        calculated: of a routed answer that the calculator gives.
        passed_on: of a routed answer that the model gives after all.
        decisions: of the decision alone: by the lens, by a linear probe of the same residual stream, and by a regular
            expression.
        prompts: how many were timed.
        rounds: how often each.
    """

    calculated: float
    passed_on: float
    decisions: Mapping[str, float]
    prompts: int
    rounds: int


def latency(
    subject: Subject, expert: Expert, calculated: Sequence[str], passed_on: Sequence[str], rounds: int = 5
) -> Latency:
    """Time routed answers and own ones in turn, on prompts that the calculator answers and on others.

    Args:
        subject: the model with the signal.
        expert: when the calculator answers.
        calculated: prompts that it answers.
        passed_on: prompts that the model answers.
        rounds: how often each way is timed on each prompt; the median counts.

    Raises:
        ValueError: no prompts of a sort, or no rounds.
    """
    if not calculated or not passed_on or rounds < 1:
        raise ValueError(
            f"{len(calculated)} prompts for the calculator, {len(passed_on)} for the model, {rounds} rounds: "
            "at least one of each is needed to time"
        )
    weights = np.zeros((subject.anatomy.hidden_size, 1 + len(NAMES)), np.float32)
    routed, own = partial(answer, subject, expert), partial(own_answer, subject)
    ways: dict[str, Callable[[str], Any]] = {
        "routed": routed,
        "lens": lambda prompt: class_words(subject, upto(subject, expert.layer, prompt), expert.tokens),
        "probe": lambda prompt: (
            np.array(upto(subject, expert.layer, prompt)[0, 0].astype(mx.float32)) @ weights
        ),
        "regex": operation_in,
    }
    ratios = _ratios(ways, own, calculated, rounds)
    others = _ratios({"routed": routed}, own, passed_on, rounds)
    return Latency(
        calculated=ratios.pop("routed"),
        passed_on=others["routed"],
        decisions=ratios,
        prompts=len(calculated) + len(passed_on),
        rounds=rounds,
    )


def _ratios(
    ways: Mapping[str, Callable[[str], Any]], own: Callable[[str], Any], prompts: Sequence[str], rounds: int
) -> dict[str, float]:
    """The median over prompts of each way's median time, as a share of the own answer's; timed in turn."""
    every = {"own": own, **ways}
    times = np.zeros((rounds + 1, len(prompts), len(every)))
    for turn in range(rounds + 1):
        for i, prompt in enumerate(prompts):
            for j, way in enumerate(every.values()):
                began = time.perf_counter()
                way(prompt)
                times[turn, i, j] = time.perf_counter() - began
    medians = np.median(times[1:], axis=0)  # the first round warms up
    shares = np.median(medians[:, 1:] / medians[:, :1], axis=0)
    return {name: float(share) for name, share in zip(ways, shares, strict=True)}
