"""Tests of a circuit: does it do as the model does, is every edge needed, and would other prompts give the same one?

Equivalence and minimality are those of Shi et al. 2024 (arXiv:2410.13032), whose test of independence is `dependence`.
There a circuit passes where a test fails to reject, so that few prompts make it pass; here each comes with an interval,
and what is not known is not passed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, spearmanr

from lazarus_probe.introspection.circuits.edge_attribution import EdgeScores
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph, Flags, random_path
from lazarus_probe.introspection.circuits.faithfulness import units_of
from lazarus_probe.introspection.circuits.pair_sets import PairSet
from lazarus_probe.introspection.circuits.without_edges import Thinned, values_without
from lazarus_probe.statistics.clusters import cluster_means
from lazarus_probe.statistics.intervals import Interval, exact
from lazarus_probe.statistics.rows import numbers

Floats = NDArray[np.float64]

EPSILON = 0.1  # by which the share of prompts may differ from a half, in the paper
QUANTILE = 0.9  # of edges on random paths that an edge has to exceed, in the paper
EDGES = 30  # of the circuit
PATHS = 300  # random ones: of a hundred, five set how far the quantile may lie, and a few edges do much
PATHS_AT_ONCE = 15  # at most, and 3 at least, that a circuit is inflated by, and that lose an edge each
EDGES_A_PATH = 50  # of the circuit, for each path that it is inflated by
RESAMPLES = 20
FOLDS = 5
LEVEL = 0.95


@dataclass(frozen=True)
class Equivalence:
    """How often a circuit outdoes its model, which is in half of the prompts where both are one.

    Attributes:
        share: of the groups of pairs in which the metric is larger with the circuit; a tie is half.
        interval: of that share, exact.
        p: of the null that the share is within `EPSILON` of a half; small where circuit and model differ.
        n: groups.
    """

    share: float
    interval: Interval
    p: float
    n: int


def equivalence(circuit: ArrayLike, model: ArrayLike, groups: Sequence[Hashable]) -> Equivalence:
    """The sign test of a circuit's metric against the model's.

    Args:
        circuit: (P,) the metric with the circuit alone.
        model: (P,) that of the model.
        groups: (P,) the independent unit of each pair.

    Raises:
        ValueError: lengths that differ, or a number that is missing or not finite.
    """
    own, plain = numbers(circuit, "circuit"), numbers(model, "model")
    if not len(own) == len(plain) == len(groups):
        raise ValueError(
            f"{len(own)} numbers of the circuit, {len(plain)} of the model, {len(groups)} groups; give as many of each"
        )
    apart = cluster_means((own - plain)[:, None], units_of(groups))[:, 0]
    n, wins = len(apart), float((apart > 0).sum() + 0.5 * (apart == 0).sum())
    # Ties are rare; half a win is counted for and against, so that the interval holds them.
    low, high = exact(int(np.floor(wins)), n).low, exact(int(np.ceil(wins)), n).high
    above = float(binom.sf(np.ceil(wins) - 1, n, 0.5 + EPSILON))
    below = float(binom.cdf(np.floor(wins), n, 0.5 - EPSILON))
    return Equivalence(wins / n, Interval(low, high), min(1.0, 2 * min(above, below)), n)


@dataclass(frozen=True, eq=False)
class Minimality:
    """How many edges of a circuit are needed more than those of random paths that are added to it.

    Attributes:
        share: of the circuit's edges that change the metric by more than `QUANTILE` of the edges on random paths do;
            .1 where the circuit's edges are as random ones.
        interval: of that share, over the edges of both that were drawn.
        edges: (K,) indices of the circuit's edges that were drawn.
        losses: (K,) by edge the mean change of the metric, up or down, where the circuit goes without it.
        random: (PATHS,) that of an edge on each random path, where the circuit with it and a few others loses it.
    """

    share: float
    interval: Interval
    edges: NDArray[np.intp]
    losses: Floats
    random: Floats


def minimality(
    pairs: PairSet,
    kept: Flags,
    count: int = EDGES,
    ablation: str = "resample",
    seed: int = 0,
    paths: int = PATHS,
) -> Minimality:
    """Whether a circuit's edges are needed, against random paths from the embedding to the logits.

    Args:
        pairs: P pairs.
        kept: (E,) the circuit.
        count: edges to draw from the circuit; all, if it has no more.
        ablation: what left out edges carry; see `circuit_values`.
        seed: of edges and paths.
        paths: random paths to draw.

    Raises:
        ValueError: the circuit has no edges, or leaves none out; or `count` or `paths` is below 2.
        NotFinite: logits are not finite.
    """
    graph, rng = pairs.splitting.graph, np.random.default_rng(seed)
    for name, number in (("count", count), ("paths", paths)):
        if number < 2:
            raise ValueError(f"{name} is {number}; at least 2 are needed for an interval")
    if not kept.any() or kept.all():
        raise ValueError(
            f"the circuit has {kept.sum()} of {graph.size} edges; give at least one, and not all"
        )
    own = np.flatnonzero(kept)
    drawn = np.sort(rng.choice(own, size=min(count, len(own)), replace=False))
    at_once = min(PATHS_AT_ONCE, max(3, int(kept.sum()) // EDGES_A_PATH))
    inflated = [
        _inflated(graph, kept, min(at_once, paths - start), rng) for start in range(0, paths, at_once)
    ]
    circuits = [Thinned(kept, drawn.tolist()), *inflated]
    losses, *random = (_losses(values) for values in values_without(pairs, circuits, ablation))
    on_paths: Floats = np.concatenate(random)
    return Minimality(
        _above(losses, on_paths), _share_interval(losses, on_paths, rng), drawn, losses, on_paths
    )


def _losses(values: Floats) -> Floats:
    """(K,) the mean change of the metric, up or down, from that of a circuit (P, 1 + K) to those without an edge."""
    return np.asarray(np.abs(values[:, 1:] - values[:, :1]).mean(axis=0))


def _inflated(graph: EdgeGraph, kept: Flags, count: int, rng: np.random.Generator) -> Thinned:
    """A circuit with some random paths, and an edge of each of them that is not in the circuit."""
    paths = [_new_path(graph, kept, rng) for _ in range(count)]
    whole = kept.copy()
    whole[np.concatenate(paths)] = True
    return Thinned(whole, [int(rng.choice(path[~kept[path]])) for path in paths])


def _new_path(graph: EdgeGraph, kept: Flags, rng: np.random.Generator) -> NDArray[np.intp]:
    """A random path that is not in the circuit as a whole; where nearly all edges are, any edge that is not."""
    for _ in range(100):
        path = random_path(graph, rng)
        if not kept[path].all():
            return path
    return np.array([rng.choice(np.flatnonzero(~kept))])


def _above(losses: Floats, random: Floats) -> float:
    return float((losses > np.quantile(random, QUANTILE)).mean())


def _share_interval(losses: Floats, random: Floats, rng: np.random.Generator, draws: int = 2000) -> Interval:
    """Where the share may lie for other edges of the circuit (exact) and for other random paths (bootstrap).

    Each takes half of what the interval may miss: the quantile's own ends by resampling, and at each of them the exact
    interval of a share.
    """
    resampled = rng.choice(random, size=(draws, len(random)))
    quantiles = np.quantile(resampled, QUANTILE, axis=1)
    level = 1 - (1 - LEVEL) / 2
    lowest, highest = np.quantile(quantiles, [(1 - level) / 2, (1 + level) / 2])
    fewest, most = int((losses > highest).sum()), int((losses > lowest).sum())
    return Interval(exact(fewest, len(losses), level).low, exact(most, len(losses), level).high)


@dataclass(frozen=True)
class Stability:
    """How much of a circuit is found again where the pairs that it is found on are others.

    Attributes:
        overlap: the edges that are in both over those in either (Jaccard), on average over resamples.
        interval: what 95% of resamples lie in: not how well the average is known, but how much circuits differ.
        correlation: of all edges' scores with those of a resample, by rank, on average.
        resamples: how many there were.
    """

    overlap: float
    interval: Interval
    correlation: float
    resamples: int


def stability(
    scores: EdgeScores,
    share: float,
    groups: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Stability:
    """Find the circuit anew on resamples of the groups of pairs, drawn with replacement.

    No prompt is run again: scores are means over pairs.

    Args:
        scores: of P pairs.
        share: of all edges that a circuit keeps.
        groups: (P,) the independent unit of each pair.
        resamples: how many.
        seed: of the resamples.

    Raises:
        ValueError: fewer than two groups or resamples.
    """
    by_group = cluster_means(scores.values, units_of(groups))
    if len(by_group) < 2 or resamples < 2:
        raise ValueError(f"{len(by_group)} groups and {resamples} resamples; at least 2 of each are needed")
    whole, rng = by_group.mean(axis=0), np.random.default_rng(seed)
    own = best_edges(scores.graph, whole, share)
    overlaps, correlations = list[float](), list[float]()
    for _ in range(resamples):
        other = by_group[rng.integers(len(by_group), size=len(by_group))].mean(axis=0)
        overlaps.append(jaccard(own, best_edges(scores.graph, other, share)))
        correlations.append(float(spearmanr(np.abs(whole), np.abs(other)).statistic))
    mean = float(np.mean(overlaps))
    low, high = np.quantile(overlaps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    interval = Interval(min(low, mean), max(high, mean))
    return Stability(mean, interval, float(np.mean(correlations)), resamples)


def found_again(
    scores: EdgeScores, share: float, groups: Sequence[Hashable], folds: int = FOLDS, seed: int = 0
) -> list[float]:
    """By fold the overlap of the circuit of some groups with that of all others, as of other wordings or names.

    Raises:
        ValueError: fewer than two folds, or fewer groups than folds.
    """
    by_group = cluster_means(scores.values, units_of(groups))
    if not 2 <= folds <= len(by_group):
        raise ValueError(
            f"{folds} folds of {len(by_group)} groups; give at least 2, and no more than there are"
        )
    parts = np.array_split(np.random.default_rng(seed).permutation(len(by_group)), folds)
    whole = by_group.sum(axis=0)
    return [
        jaccard(
            best_edges(scores.graph, by_group[part].sum(axis=0), share),
            best_edges(scores.graph, whole - by_group[part].sum(axis=0), share),
        )
        for part in parts
    ]


def best_edges(graph: EdgeGraph, scores: Floats, share: float) -> Flags:
    """(E,) the circuit of a share of all edges, those with the largest scores (E,); dangling ones are left out."""
    return graph.best(np.argsort(-np.abs(scores), kind="stable"), max(1, round(share * graph.size)))


def jaccard(first: Flags, second: Flags) -> float:
    """The edges of both circuits over those of either; 0 where neither has any."""
    return float((first & second).sum() / max(1, (first | second).sum()))
