"""A circuit compared with random ones and what is left without it, each pair counted from 0 to 1.

A ratio of means may hide pairs on which a circuit fails behind others on which it overshoots; a pair counts the metric
of the circuit less that of the empty one, over the mean gap between the model and the empty circuit, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.circuit_tests import equivalence, minimality
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags, random_alike
from lazarus_probe.introspection.circuits.independence import dependence
from lazarus_probe.introspection.circuits.pair_sets import PairSet, plain_values
from lazarus_probe.statistics.measurement import Part
from lazarus_probe.statistics.student import mean_t_interval

Floats = NDArray[np.float64]
RANDOM = 10  # circuits
MINIMAL_PAIRS = 4  # on which edges are left out one by one, 350 runs each


def gap_of(pairs: PairSet) -> float:
    """How far the metric is apart between clean and corrupted prompts, on average.

    Raises:
        ValueError: it is not above 0, so that there is nothing to find a circuit of.
        NotFinite: logits are not finite.
    """
    clean, corrupted = plain_values(pairs)
    gap = mean_t_interval(clean - corrupted)
    if not gap.low > 0:
        raise ValueError(
            f"{pairs.metric} is {clean.mean():.3g} on clean prompts and {corrupted.mean():.3g} on corrupted ones, "
            f"a difference in [{gap.low:.3g}, {gap.high:.3g}]; give prompts that the model tells apart"
        )
    return float(gap.mean)


def capped(values: Floats, empty: Floats, gap: float) -> Floats:
    """(P, C) what circuits have of the model's answers, from their metric (P, C) and that of the empty circuit (P,)."""
    return np.clip((values - empty[:, None]) / gap, 0, 1)


@dataclass(frozen=True, eq=False)
class CappedRuns:
    """A circuit's runs on P pairs.

    Attributes:
        own: (P,) what the circuit has of the model's answers, from 0 to 1.
        without: (P,) what the model without the circuit's edges has.
        random: (RANDOM, P) what random circuits with as many edges between every two blocks have.
        circuit: (P,) the metric with the circuit alone.
        rest: (P,) that without its edges.
        model: (P,) that of the model.
    """

    own: Floats
    without: Floats
    random: Floats
    circuit: Floats
    rest: Floats
    model: Floats

    @property
    def controls(self) -> dict[str, Floats]:
        """(P,) by control: `without_circuit`, and `random_circuits`, the mean of them."""
        return {"without_circuit": self.without, "random_circuits": self.random.mean(axis=0)}

    def tests(self, groups: Sequence[str]) -> dict[str, Any]:
        """The share of random circuits that are as faithful, and the tests of equivalence and of independence."""
        signs = equivalence(self.circuit, self.model, groups)
        return {
            "random_as_faithful": float((self.random.mean(axis=1) >= self.own.mean()).mean()),
            "outdoes_model": {
                "share": signs.share,
                "low": signs.interval.low,
                "high": signs.interval.high,
                "p": signs.p,
            },
            "rest_follows_model_p": self._dependence_p(),
        }

    def _dependence_p(self) -> float | None:
        """Whether what is left without the circuit still follows the model; None where that cannot be tested."""
        try:
            return dependence(self.rest, self.model).p
        except ValueError:  # too few pairs, or the rest says the same on all
            return None


def capped_runs(pairs: PairSet, kept: Flags, gap: float, seed: int) -> CappedRuns:
    """Run a circuit (E,), what is left without it, and random circuits of its shape.

    Raises:
        NotFinite: logits are not finite.
    """
    rng, graph = np.random.default_rng(seed), pairs.splitting.graph
    random = [random_alike(graph, kept, rng) for _ in range(RANDOM)]
    values, (model, empty) = circuit_values(pairs, np.stack([kept, ~kept, *random])), plain_values(pairs)
    own, without, *others = capped(values, empty, gap).T
    return CappedRuns(own, without, np.array(others), values[:, 0], values[:, 1], model)


def needed_edges(pairs: PairSet, kept: Flags, groups: Sequence[str], seed: int) -> Part:
    """The circuit's minimality, on one pair each of up to `MINIMAL_PAIRS` groups."""
    result = minimality(pairs.of(one_of_each(groups, MINIMAL_PAIRS, seed)), kept, seed=seed)
    return Part("minimality", result.share, result.interval.low, result.interval.high, len(result.edges))


def one_of_each(groups: Sequence[str], most: int, seed: int) -> list[int]:
    """A row of each of up to so many groups, both drawn at random."""
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(groups))
    drawn = [names[index] for index in rng.permutation(len(names))[:most].tolist()]
    return sorted(
        int(rng.choice([row for row, name in enumerate(groups) if name == group])) for group in drawn
    )
