"""Find a circuit of edges by attribution on some pairs of prompts, and measure it on others."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph
from lazarus_probe.introspection.circuits.circuit_parts import Block, CircuitEdge, CurvePoint, Figure
from lazarus_probe.introspection.circuits.circuit_runs import ABLATIONS, Ablation
from lazarus_probe.introspection.circuits.edge_attribution import EdgeScores, edge_scores
from lazarus_probe.introspection.circuits.edge_graph import Flags
from lazarus_probe.introspection.circuits.edge_patching import EdgeEffects, edge_effects
from lazarus_probe.introspection.circuits.faithfulness import (
    Baselines,
    CircuitMeasures,
    FaithfulnessCurve,
    baselines,
    faithfulness_curve,
    measure_circuit,
    units_of,
)
from lazarus_probe.introspection.circuits.pair_sets import PairSet, answered_pairs
from lazarus_probe.introspection.circuits.pruning import prune_circuit
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.clusters import cluster_means
from lazarus_probe.statistics.student import mean_t_interval

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

STEPS = 5
FAITHFUL = 0.85
EXACT = 20
BETWEEN = 8  # circuits between two points of the curve
FEWEST = 4  # groups of pairs, two to find a circuit on and two to measure it on


@dataclass(frozen=True)
class CircuitSearch:
    """How a circuit is found and measured.

    Attributes:
        steps: gradients along the line from corrupted to clean embeddings; 1 for the clean prompts alone.
        edges: how many edges with the largest scores to keep; None for the fewest that are faithful enough.
        faithful: faithfulness on the pairs that the circuit is found on, where `edges` is None.
        ablation: what left out edges carry: "resample", "mean" or "zero".
        held_out: find the circuit on half of the groups of pairs, and measure it on the other half.
        prune: leave out edges that are not needed, by exact runs, on the pairs that the circuit is found on.
        exact: how many of its edges to patch exactly, the largest scores first.
        seed: of halves, resampling and random circuits.

    Raises:
        ValueError: a number out of range, or an unknown ablation.

    Example:
        >>> from lazarus_probe.introspection import CircuitSearch
        >>> search = CircuitSearch(steps=10, ablation="mean", prune=True)
        >>> search.edges is None, search.held_out
        (True, True)
    """

    steps: int = STEPS
    edges: int | None = None
    faithful: float = FAITHFUL
    ablation: Ablation = "resample"
    held_out: bool = True
    prune: bool = False
    exact: int = EXACT
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("steps", self.steps, 1),
            ("edges", self.edges, 1),
            ("exact", self.exact, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; at least {least} is needed")
        if not 0 < self.faithful <= 1:
            raise ValueError(f"faithful is {self.faithful}; give a share above 0, and at most 1")
        if self.ablation not in ABLATIONS:
            raise ValueError(f"ablation {self.ablation!r} is unknown; {one_of(self.ablation, ABLATIONS)}")


def find_circuit(
    subject: Subject,
    pairs: Sequence[PromptPair],
    search: CircuitSearch | None = None,
    *,
    progress: bool = False,
    resume: str | Path | None = None,
) -> CircuitGraph:
    """The circuit that makes a model answer the targets as it does and not as it answers the sources.

    Edges are scored by attribution (EAP-IG) on half of the pairs, and those with the largest scores kept that lead from
    the embedding to the logits. On the other half the circuit's faithfulness is measured, against the model without it
    and against random circuits of its size, and its best edges are patched exactly.

    Args:
        subject: the model.
        pairs: P pairs: the targets are the clean prompts and their sources the corrupted ones, with as many tokens.
            The metric is the logit of the target's answer less that of the source's.
        search: how; see `CircuitSearch`.
        progress: show a bar, where standard error is a terminal.
        resume: a file that keeps what is done, from which the same search, or another on these pairs, resumes.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: no pairs, unequal lengths, equal answers, too few groups of pairs, more edges than there are, a
            model that does the same on both prompts, or a file of another model or other pairs.
        UnsupportedArchitecture: its residual stream is no sum of what heads and MLPs write.
        NotFinite: logits are not finite.

    Example:
        >>> from lazarus_probe.introspection import CircuitSearch, PromptPair, find_circuit
        >>> operands = [(7, 8), (6, 9), (8, 9), (7, 6)]
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in operands]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=2, edges=300, exact=3))
        >>> circuit.held_out, circuit.found_on, circuit.measured_on
        (True, 2, 2)
        >>> circuit.faithfulness.value > 0.5 > max(circuit.random)
        True
    """
    search = search or CircuitSearch()
    every = answered_pairs(subject, pairs, progress=progress, resume=resume)
    groups = [number if pair.group is None else pair.group for number, pair in enumerate(pairs)]
    first, second = halves_of(groups, search)
    finding, measuring = every.of(first), every.of(second)
    units = [groups[row] for row in first], [groups[row] for row in second]
    base = baselines(measuring, search.ablation, units[1], search.seed)
    scores = edge_scores(finding, search.steps)
    kept = _kept(finding, units[0], scores, search)
    curve = faithfulness_curve(measuring, scores.order, base)
    best = [index for index in scores.order.tolist() if kept[index]]
    named = [scores.graph[index] for index in best[: search.exact]]
    measures = measure_circuit(measuring, kept, base, named)
    effects = edge_effects(measuring, named, ablation=search.ablation) if named else None
    edges = _edges(scores, best, effects, measures, units)
    return _result(every, search, (len(first), len(second)), edges, measures, base, curve)


def halves_of(groups: Sequence[Hashable], search: CircuitSearch) -> tuple[list[int], list[int]]:
    """Rows of the pairs that a circuit is found on, and of those that it is measured on.

    Raises:
        ValueError: too few groups to make two halves of them.
    """
    rows = list(range(len(groups)))
    if not search.held_out:
        return rows, rows
    names = list(dict.fromkeys(groups))
    if len(names) < FEWEST:
        raise ValueError(
            f"pairs in {len(names)} groups cannot be halved; give at least {FEWEST}, or measure the circuit on the "
            "pairs that it is found on (held_out=False)"
        )
    return drawn_apart(groups, len(names) // 2, search.seed)


def drawn_apart(groups: Sequence[Hashable], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Rows of so many of the groups, drawn at random, and the rows of all others."""
    names = list(dict.fromkeys(groups))
    drawn = {names[number] for number in np.random.default_rng(seed).permutation(len(names))[:count].tolist()}
    rows = range(len(groups))
    return [row for row in rows if groups[row] in drawn], [row for row in rows if groups[row] not in drawn]


def _kept(pairs: PairSet, groups: Sequence[Hashable], scores: EdgeScores, search: CircuitSearch) -> Flags:
    """(E,) the edges of the circuit, chosen on these pairs."""
    graph, count = scores.graph, search.edges
    if count is not None and count > graph.size:
        raise ValueError(f"{count} edges cannot be kept; the model has {graph.size}")
    base = baselines(pairs, search.ablation, groups, search.seed) if count is None or search.prune else None
    if count is None and base is not None:
        count = _enough(pairs, scores, base, search.faithful)
    kept = graph.best(scores.order, graph.size if count is None else count)
    if not kept.any():
        raise ValueError(f"none of the {count} edges with the largest scores leads to the logits; keep more")
    return kept if base is None or not search.prune else prune_circuit(pairs, kept, base).kept


def _enough(pairs: PairSet, scores: EdgeScores, base: Baselines, faithful: float) -> int:
    """How many edges are enough: on the curve, and then between its points."""
    curve = faithfulness_curve(pairs, scores.order, base)
    enough = curve.smallest(faithful)
    before = max((count for count in curve.counts if count < enough), default=0)
    between = np.unique(np.linspace(before, enough, BETWEEN + 2).round().astype(int))
    counts = [count for count in between.tolist() if before < count < enough]
    if not counts:
        return enough
    return min(enough, faithfulness_curve(pairs, scores.order, base, counts).smallest(faithful))


def _edges(
    scores: EdgeScores,
    best: Sequence[int],
    effects: EdgeEffects | None,
    measures: CircuitMeasures,
    units: tuple[Sequence[Hashable], Sequence[Hashable]],
) -> tuple[CircuitEdge, ...]:
    """The edges of the circuit by the size of their score; scores and effects are means over groups of pairs."""
    layers = len(scores.graph.blocks)
    exact = (
        {} if effects is None else dict(zip(effects.edges, _figures(effects.values, units[1]), strict=True))
    )
    losses = {
        edge: Figure.of(loss.value, loss.interval)
        for edge, loss in zip(measures.edges, measures.losses, strict=True)
    }
    figures = _figures(scores.values[:, best], units[0])
    found = [
        CircuitEdge(
            name=str(edge),
            sender_hook=edge.sender.hook,
            receiver_hook=edge.receiver.hook(layers),
            score=score,
            effect=exact.get(edge),
            loss=losses.get(edge),
        )
        for edge, score in zip((scores.graph[index] for index in best), figures, strict=True)
    ]
    return tuple(sorted(found, key=lambda edge: -abs(edge.score.value)))


def _figures(values: NDArray[np.float64], groups: Sequence[Hashable]) -> list[Figure]:
    """By column of values (P, K) its mean over groups, with the interval."""
    estimate = mean_t_interval(cluster_means(values, units_of(groups)))
    rows: NDArray[np.float64] = np.stack([estimate.mean, estimate.low, estimate.high], axis=1)
    return [Figure(value=value, low=low, high=high) for value, low, high in rows.tolist()]


def _result(
    every: PairSet,
    search: CircuitSearch,
    counts: tuple[int, int],
    edges: tuple[CircuitEdge, ...],
    measures: CircuitMeasures,
    base: Baselines,
    curve: FaithfulnessCurve,
) -> CircuitGraph:
    subject = every.splitting.subject
    return CircuitGraph(
        model=subject.name,
        fingerprint=subject.fingerprint,
        metric=every.metric,
        ablation=search.ablation,
        steps=search.steps,
        seed=search.seed,
        held_out=search.held_out,
        found_on=counts[0],
        measured_on=counts[1],
        blocks=tuple(
            Block(heads=block.heads, kv_heads=block.kv_heads, mlp=block.mlp)
            for block in every.splitting.graph.blocks
        ),
        edges=edges,
        clean=float(base.full.mean()),
        empty=float(base.empty.mean()),
        faithfulness=Figure.of(measures.faithfulness.value, measures.faithfulness.interval),
        without=Figure.of(measures.without.value, measures.without.interval),
        random=measures.random,
        curve=tuple(
            CurvePoint(edges=count, left=left, faithfulness=Figure.of(point.value, point.interval))
            for count, left, point in zip(curve.counts, curve.sizes, curve.points, strict=True)
        ),
        cpr=Figure.of(curve.cpr.value, curve.cpr.interval),
        cmd=Figure.of(curve.cmd.value, curve.cmd.interval),
    )
