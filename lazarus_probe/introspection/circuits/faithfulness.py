"""How much of a model's behaviour a circuit has: faithfulness with its curve, completeness and minimality.

With F the mean of the metric over prompts, the faithfulness of a circuit is (F(circuit) - F(empty)) / (F(model) -
F(empty)): 1 where the circuit alone behaves as the model, 0 where it does as with no edges at all, and above 1 or below
0 where it left out what works against the behaviour, or for it. CPR and CMD are those of MIB (Mueller et al. 2025,
arXiv:2504.13151): the area under the curve of faithfulness over the share of edges, and the area between it and 1.
"""

# ruff: noqa: N806 - E is the name that this room gives to the number of edges

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edge_patching import edge_effects
from lazarus_probe.introspection.circuits.edges.edge import Edge
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags, random_paths
from lazarus_probe.introspection.circuits.pair_sets import PairSet, plain_values
from lazarus_probe.statistics.bootstrap import cluster_bootstrap_of_means
from lazarus_probe.statistics.intervals import Interval

Floats = NDArray[np.float64]

# The shares of all edges at which MIB measures faithfulness.
SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
RANDOM = 10  # circuits of as many edges


@dataclass(frozen=True)
class Ratio:
    """A ratio of means over prompts, with its bootstrap interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, eq=False)
class Baselines:
    """The metric of the whole model and of the empty circuit, between which faithfulness is measured.

    Attributes:
        full: (P,) with all edges.
        empty: (P,) with none.
        groups: (P,) the independent unit of each pair.
        ablation: what left out edges carry.
        seed: of the resampling.
    """

    full: Floats
    empty: Floats
    groups: tuple[Hashable, ...]
    ablation: str
    seed: int

    @property
    def gap(self) -> float:
        """F(model) - F(empty)."""
        return float((self.full - self.empty).mean())

    def ratios(self, values: Floats) -> tuple[Ratio, ...]:
        """The faithfulness of circuits with these values of the metric (P, C)."""

        def faithfulness(means: Floats) -> Floats:
            full, empty = means[..., :1], means[..., 1:2]
            return np.asarray((means[..., 2:] - empty) / (full - empty))

        columns = np.concatenate([self.full[:, None], self.empty[:, None], values], axis=1)
        points = faithfulness(columns.mean(axis=0))
        intervals = cluster_bootstrap_of_means(columns, units_of(self.groups), faithfulness, seed=self.seed)
        return tuple(Ratio(float(value), interval) for value, interval in zip(points, intervals, strict=True))


def baselines(
    pairs: PairSet, ablation: str = "resample", groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Baselines:
    """The metric of the whole model and of the empty circuit.

    Args:
        pairs: P pairs.
        ablation: what left out edges carry; see `circuit_values`.
        groups: (P,) the independent unit of each pair; each pair by itself by default.
        seed: of the resampling.

    Raises:
        ValueError: fewer than two groups, as many groups as there are not pairs, or a model that does on the prompts
            what the empty circuit does, so that there is nothing to explain.
        NotFinite: logits are not finite.
    """
    names = tuple(range(len(pairs)) if groups is None else groups)
    if len(names) != len(pairs):
        raise ValueError(f"{len(names)} groups for {len(pairs)} pairs; give one a pair")
    if len(set(names)) < 2:
        raise ValueError(f"{len(set(names))} group of pairs; at least 2 are needed for an interval")
    # Under resampling the empty circuit is the corrupted run, which costs a plain forward.
    if ablation == "resample":
        values = np.stack(plain_values(pairs), axis=1)
    else:
        all_edges = np.ones(pairs.splitting.graph.size, dtype=bool)
        values = circuit_values(pairs, np.stack([all_edges, ~all_edges]), ablation)
    result = Baselines(values[:, 0], values[:, 1], names, ablation, seed)
    (gap,) = cluster_bootstrap_of_means(
        values, units_of(names), lambda means: np.asarray(means[..., :1] - means[..., 1:]), seed=seed
    )
    if gap.low <= 0 <= gap.high:
        raise ValueError(
            f"{pairs.metric} is {result.full.mean():.3g} in the model and {result.empty.mean():.3g} with no edges, a "
            f"difference in [{gap.low:.3g}, {gap.high:.3g}]; give prompts on which the model does something else"
        )
    return result


def units_of(groups: Sequence[Hashable]) -> NDArray[np.intp]:
    """(P,) groups of any kind as numbers."""
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], dtype=np.intp)


@dataclass(frozen=True, eq=False)
class FaithfulnessCurve:
    """Faithfulness of growing circuits.

    Attributes:
        counts: K numbers of edges, those with the largest scores.
        sizes: how many of these are left once dangling ones are pruned.
        total: edges of the model.
        points: the faithfulness of each circuit.
        cpr: area under the curve over the share of edges, from (0, 0) to (1, 1); random edges have little, and it is
            above 1 where circuits outdo the model.
        cmd: area between the curve and 1; 0 at best.
    """

    counts: tuple[int, ...]
    sizes: tuple[int, ...]
    total: int
    points: tuple[Ratio, ...]
    cpr: Ratio
    cmd: Ratio

    def smallest(self, faithfulness: float) -> int:
        """The smallest of the numbers of edges that is as faithful as this, or all edges."""
        reached = [
            count
            for count, point in zip(self.counts, self.points, strict=True)
            if point.value >= faithfulness
        ]
        return min(reached, default=self.total)


def faithfulness_curve(
    pairs: PairSet, order: NDArray[np.intp], base: Baselines, counts: Sequence[int] | None = None
) -> FaithfulnessCurve:
    """Faithfulness of the circuits of the first few edges of an order, with dangling ones pruned.

    Args:
        pairs: P pairs.
        order: (E,) indices of edges, the best first, as of `EdgeScores.order`.
        base: of the same pairs.
        counts: numbers of edges; those at `SHARES` of all by default.

    Raises:
        ValueError: counts that are not between 1 and the number of edges.
        NotFinite: logits are not finite.
    """
    graph = pairs.splitting.graph
    E = graph.size
    wanted = [max(1, round(share * E)) for share in SHARES] if counts is None else list(counts)
    for count in wanted:
        if not 1 <= count <= E:
            raise ValueError(f"{count} edges cannot be kept; the model has {E}")
    sizes = sorted(set(wanted))
    kept = np.stack([graph.best(order, count) for count in sizes])
    values = circuit_values(pairs, kept, base.ablation)
    shares = np.array([0, *(count / E for count in sizes), 1])

    # Both areas in two columns, so that their bands come from the same resamples as the curve's.
    def areas(means: Floats) -> Floats:
        full, empty = means[..., :1], means[..., 1:2]
        inner = (means[..., 2:] - empty) / (full - empty)
        curve = np.concatenate([np.zeros_like(full), inner, np.ones_like(full)], axis=-1)
        return np.stack([_area(curve, shares), _area(np.abs(1 - curve), shares)], axis=-1)

    columns = np.concatenate([base.full[:, None], base.empty[:, None], values], axis=1)
    bands = cluster_bootstrap_of_means(columns, units_of(base.groups), areas, seed=base.seed)
    cpr, cmd = (
        Ratio(float(value), band) for value, band in zip(areas(columns.mean(axis=0)), bands, strict=True)
    )
    left = tuple(int(circuit.sum()) for circuit in kept)
    return FaithfulnessCurve(tuple(sizes), left, E, base.ratios(values), cpr, cmd)


def _area(heights: Floats, at: Floats) -> Floats:
    """Area under lines through heights (..., K) at K places."""
    return np.asarray(((heights[..., 1:] + heights[..., :-1]) / 2 * np.diff(at)).sum(axis=-1))


@dataclass(frozen=True, eq=False)
class CircuitMeasures:
    """What is known of one circuit.

    Attributes:
        faithfulness: of the circuit.
        without: of the model without the circuit's edges: 0 where the circuit is complete.
        random: the faithfulness of random circuits of as many edges.
        edges: some of its edges.
        losses: by edge the faithfulness that the circuit loses without it: above 0 where it is needed.
    """

    faithfulness: Ratio
    without: Ratio
    random: tuple[float, ...]
    edges: tuple[Edge, ...]
    losses: tuple[Ratio, ...]


def measure_circuit(
    pairs: PairSet, kept: Flags, base: Baselines, edges: Sequence[Edge] | None = None
) -> CircuitMeasures:
    """Faithfulness, completeness and minimality of a circuit.

    Args:
        pairs: P pairs.
        kept: (E,) the circuit.
        base: of the same pairs.
        edges: those of its edges whose losses are measured; all by default.

    Raises:
        ValueError: the circuit has no edges, or not these.
        NotFinite: logits are not finite.
    """
    graph, rng = pairs.splitting.graph, np.random.default_rng(base.seed)
    if not kept.any():
        raise ValueError("the circuit has no edges; give at least one")
    random = [random_paths(graph, int(kept.sum()), rng) for _ in range(RANDOM)]
    values = circuit_values(pairs, np.stack([kept, ~kept, *random]), base.ablation)
    faithfulness, without, *others = base.ratios(values)
    wanted = tuple(graph.named(kept) if edges is None else edges)
    losses: tuple[Ratio, ...] = ()
    if wanted:
        effects = edge_effects(pairs, wanted, kept, base.ablation).values
        # A loss is a difference of two circuits: that of their values is added to the empty circuit's.
        losses = base.ratios(base.empty[:, None] - effects)
    return CircuitMeasures(faithfulness, without, tuple(other.value for other in others), wanted, losses)
