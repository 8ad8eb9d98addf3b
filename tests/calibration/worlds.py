"""Worlds of which the true mean, or capped R2, is known, from few groups: what intervals are held against.

Those of bounded means are unkind on purpose: most groups agree, and what decides the mean is in few of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.controls import mean_predictions
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.probes.capped import capped_gain_interval, capped_r2_interval, number_errors

Floats = NDArray[np.float64]
GROUPS = (5, 7, 10, 15, 20, 40, 60)


@dataclass(frozen=True)
class World:
    """A way to draw rows in units, and the interval's truth.

    Attributes:
        truth: what the interval should hold; some are themselves simulated, and only when needed.
        interval: of a sample of so many groups, from a generator.
    """

    truth: Callable[[], float]
    interval: Callable[[np.random.Generator, int], Interval]


def coverage(world: World, groups: int, draws: int) -> float:
    """The share of samples of so many groups whose interval holds the truth."""
    rng, truth = np.random.default_rng([groups, draws]), world.truth()
    held = 0
    for _ in range(draws):
        interval = world.interval(rng, groups)
        held += interval.low <= truth <= interval.high
    return held / draws


def sizes(kind: str, rng: np.random.Generator, groups: int) -> NDArray[np.intp]:
    """Rows of each group: one, four, or unequally many."""
    if kind == "unequal":
        return 1 + rng.geometric(0.25, groups)
    return np.full(groups, {"one": 1, "four": 4}[kind])


def proportion(share: float, kind: str, together: float, rng: np.random.Generator, groups: int) -> Interval:
    """Right answers that come together in groups by an intraclass correlation."""
    index = np.repeat(np.arange(groups), sizes(kind, rng, groups))
    weight = (1 - together) / together if together else 0.0
    rates = rng.beta(share * weight, (1 - share) * weight, groups) if together else np.full(groups, share)
    return bounded_mean_interval(rng.random(len(index)) < rates[index], index, 0, 1)


def by_group(
    draw: Callable[[np.random.Generator, int], Floats],
    kind: str,
    low: float,
    rng: np.random.Generator,
    groups: int,
) -> Interval:
    """One value for all rows of a group."""
    index = np.repeat(np.arange(groups), sizes(kind, rng, groups))
    return bounded_mean_interval(draw(rng, groups)[index], index, low, 1)


def skewed(rng: np.random.Generator, groups: int) -> Floats:
    """Probabilities near .02, log-normally."""
    return np.minimum(1.0, 0.02 * np.exp(1.5 * rng.normal(size=groups)))


def a_tenth_near(most: float, rest: float, rng: np.random.Generator, groups: int) -> Floats:
    """A tenth of the groups near one end, the others at the other."""
    return np.where(rng.random(groups) < 0.1, most + 0.05 * rng.random(groups), rest * rng.random(groups))


def beta(share: float, rng: np.random.Generator, groups: int) -> Floats:
    """Shares of mean `share` that are mostly near 0 or 1."""
    return rng.beta(share, 1 - share, groups)


def changes(gains: float, losses: float, rng: np.random.Generator, groups: int) -> Floats:
    """Differences that are all or nothing, in both directions."""
    return rng.choice([1.0, 0.0, -1.0], p=[gains, 1 - gains - losses, losses], size=groups)


def crossed(by_phrasing: bool, by_family: bool, rng: np.random.Generator, groups: int) -> Interval:
    """Every family in every phrasing; a tenth of either fails as a whole."""
    families = 40 if not by_family else groups
    phrasing, family = np.repeat(np.arange(groups), families), np.tile(np.arange(families), groups)
    fails = (rng.random(groups) < 0.1 * by_phrasing)[phrasing] | (rng.random(families) < 0.1 * by_family)[
        family
    ]
    return bounded_mean_interval(~fails, {"phrasing": phrasing, "family": family}, 0, 1)


def logits(
    phrasing: NDArray[np.intp], family: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Right answers whose log-odds depend on both phrasing and family."""
    effects = 1.5 * rng.normal(size=phrasing.max() + 1), 1.5 * rng.normal(size=family.max() + 1)
    odds = 1.5 + effects[0][phrasing] + effects[1][family]
    return rng.random(len(phrasing)) < 1 / (1 + np.exp(-odds))


def crossed_logits(rng: np.random.Generator, groups: int) -> Interval:
    """40 families, each in every phrasing."""
    phrasing, family = np.repeat(np.arange(groups), 40), np.tile(np.arange(40), groups)
    return bounded_mean_interval(
        logits(phrasing, family, rng), {"phrasing": phrasing, "family": family}, 0, 1
    )


def sparse_logits(rng: np.random.Generator, groups: int) -> Interval:
    """Twice as many families as phrasings, each in four of them."""
    family = np.repeat(np.arange(2 * groups), 4)
    phrasing = np.concatenate([rng.choice(groups, 4, replace=False) for _ in range(2 * groups)])
    return bounded_mean_interval(
        logits(phrasing, family, rng), {"phrasing": phrasing, "family": family}, 0, 1
    )


def nested(rng: np.random.Generator, groups: int) -> Interval:
    """Three inner units in each outer one, both alike within."""
    outer = np.repeat(np.arange(groups), 6)
    inner = np.arange(6 * groups) // 2
    rates = rng.beta(2, 0.5, groups)[np.arange(3 * groups) // 3]
    rates = rng.beta(8 * rates + 1e-9, 8 * (1 - rates) + 1e-9)
    return bounded_mean_interval(
        rng.random(6 * groups) < rates[inner], {"outer": outer, "inner": inner}, 0, 1
    )


@cache
def mean_of_skewed() -> float:
    return float(skewed(np.random.default_rng(9), 4_000_000).mean())


@cache
def mean_of_logits() -> float:
    odds = 1.5 + 1.5 * np.random.default_rng(9).normal(size=(2, 2_000_000)).sum(0)
    return float((1 / (1 + np.exp(-odds))).mean())


def products(rng: np.random.Generator, groups: int) -> tuple[Floats, dict[str, Floats]]:
    """Products of two numbers to 50, and predictions of them by several predictors."""
    a, b = rng.integers(1, 51, (2, groups))
    numbers, wrong = (a * b).astype(np.float64), rng.random(groups) < 0.03
    noise = rng.normal(size=groups)
    guesses = {
        "additive": 25.5 * (a + b) - 25.5**2,
        "noisy": numbers + 100 * noise,
        "rare blunders": np.where(wrong, 600.0, numbers + 30 * noise),
        "rare blunders to the end": np.where(wrong, 2500.0, numbers + 30 * noise),
        "no signal": 650 + 100 * noise,
    }
    return numbers, {name: np.clip(each, 1, 2500) for name, each in guesses.items()}


def capped_r2(kind: str, rng: np.random.Generator, groups: int) -> Interval:
    """Of a predictor that is fixed beforehand; variance and mean are those of the sample, as a probe's are."""
    numbers, guesses = products(rng, groups)
    units = np.arange(groups)
    return capped_r2_interval(number_errors(numbers, guesses[kind], mean_predictions(numbers, units)), units)


def capped_gain(kind: str, rng: np.random.Generator, groups: int) -> Interval:
    """Over the predictor that is linear in the operands."""
    numbers, guesses = products(rng, groups)
    units = np.arange(groups)
    means = mean_predictions(numbers, units)
    probe, additive = (number_errors(numbers, guesses[name], means) for name in (kind, "additive"))
    return capped_gain_interval(probe, additive, units)


@cache
def true_capped_r2() -> dict[str, float]:
    numbers, guesses = products(np.random.default_rng(9), 2_000_000)
    means = np.full(len(numbers), numbers.mean())
    return {name: number_errors(numbers, each, means).score for name, each in guesses.items()}


def true_gain(kind: str) -> float:
    return true_capped_r2()[kind] - true_capped_r2()["additive"]


def known(truth: float) -> Callable[[], float]:
    return lambda: truth


def _of_numbers() -> dict[str, World]:
    kinds = ("additive", "noisy", "rare blunders", "rare blunders to the end", "no signal")
    scores = {
        f"capped R2, {kind}": World(lambda kind=kind: true_capped_r2()[kind], partial(capped_r2, kind))
        for kind in kinds
    }
    gains = {
        f"gain of capped R2, {kind}": World(partial(true_gain, kind), partial(capped_gain, kind))
        for kind in kinds[1:]
    }
    return scores | gains


def _proportions() -> dict[str, World]:
    shapes = (("one", 0.0), ("four", 0.5), ("unequal", 0.3), ("unequal", 0.9))
    return {
        f"proportion {share}, {kind} row a group, alike {together}": World(
            known(share), partial(proportion, share, kind, together)
        )
        for share in (0.02, 0.05, 0.2, 0.5, 0.8, 0.95, 0.98)
        for kind, together in shapes
    }


def _bounded() -> dict[str, World]:
    draws: dict[str, tuple[Callable[[], float], float, Callable[[np.random.Generator, int], Floats]]] = {
        "lognormal": (mean_of_skewed, 0, skewed),
        "beta .1": (known(0.1), 0, partial(beta, 0.1)),
        "beta .05": (known(0.05), 0, partial(beta, 0.05)),
        "a tenth near .9": (known(0.1 * 0.925 + 0.9 * 0.5e-4), 0, partial(a_tenth_near, 0.9, 1e-4)),
        "changes .05/.02": (known(0.03), -1, partial(changes, 0.05, 0.02)),
        "changes one way .1": (known(0.1), -1, partial(changes, 0.1, 0.0)),
        "changes .3/.1": (known(0.2), -1, partial(changes, 0.3, 0.1)),
    }
    return {
        f"{name}, {kind} row a group": World(truth, partial(by_group, draw, kind, low))
        for name, (truth, low, draw) in draws.items()
        for kind in ("one", "unequal")
    }


def _of_several_kinds() -> dict[str, World]:
    return {
        "crossed, phrasings fail": World(known(0.9), partial(crossed, True, False)),
        "crossed, phrasings and families fail": World(known(0.81), partial(crossed, True, True)),
        "crossed log-odds": World(mean_of_logits, crossed_logits),
        "sparsely crossed log-odds": World(mean_of_logits, sparse_logits),
        "nested": World(known(0.8), nested),
    }


def worlds() -> dict[str, World]:
    """All of them by name."""
    return _proportions() | _bounded() | _of_several_kinds() | _of_numbers()
