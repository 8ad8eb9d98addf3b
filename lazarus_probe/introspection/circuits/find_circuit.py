"""Find a circuit of edges by attribution on some pairs of prompts, and measure it on others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph
from lazarus_probe.introspection.circuits.circuit_parts import (
    Block,
    CircuitEdge,
    Contrast,
    CurvePoint,
    Figure,
    OtherTask,
    PairScore,
    Resampled,
)
from lazarus_probe.introspection.circuits.circuit_search import CircuitSearch, groups_of, halves_of
from lazarus_probe.introspection.circuits.circuit_tests import stability
from lazarus_probe.introspection.circuits.edge_attribution import EdgeScores, edge_scores
from lazarus_probe.introspection.circuits.edge_patching import EdgeEffects, edge_effects
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags
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
from lazarus_probe.statistics.student import clustered_t_interval

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

BETWEEN = 8  # circuits between two points of the curve
STRONGEST = 2  # pairs that are shown with an edge


def find_circuit(
    subject: Subject,
    pairs: Sequence[PromptPair],
    search: CircuitSearch | None = None,
    *,
    others: Mapping[str, Sequence[PromptPair]] | None = None,
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
        others: pairs of other tasks by name, on which the circuit is measured as well.
        progress: show a bar, where standard error is a terminal.
        resume: a file that keeps what is done, from which the same search, or another on these pairs, resumes.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: no pairs, unequal lengths, equal answers, too few groups of pairs, more edges than there are, a
            model that does the same on both prompts, here or on another task, or a file of other runs.
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
    answered = answered_pairs(subject, pairs, progress=progress, resume=resume)
    tasks = [_task(subject, name, other, search) for name, other in (others or {}).items()]
    groups = groups_of(pairs)
    first, second = halves_of(groups, search)
    finding, measuring = answered.of(first), answered.of(second)
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
    prompts = tuple(Contrast.of(pairs[row].target, pairs[row].source) for row in first)
    result = _result(answered, search, prompts, len(second), edges, measures, base, curve)
    again = _found_again(scores, kept, units[0], search.seed)
    return result.model_copy(update={"found_again": again, "others": tuple(task.of(kept) for task in tasks)})


@dataclass(frozen=True, eq=False)
class _Task:
    """Pairs of another task, on which the model is known to do what they are about."""

    name: str
    pairs: PairSet
    base: Baselines

    def of(self, kept: Flags) -> OtherTask:
        """What a circuit (E,) does on them."""
        measures = measure_circuit(self.pairs, kept, self.base, ())
        return OtherTask(
            name=self.name,
            pairs=len(self.pairs),
            clean=float(self.base.full.mean()),
            empty=float(self.base.empty.mean()),
            faithfulness=Figure.of(measures.faithfulness.value, measures.faithfulness.interval),
            random=float(np.mean(measures.random)),
        )


def _task(subject: Subject, name: str, pairs: Sequence[PromptPair], search: CircuitSearch) -> _Task:
    try:
        answered = answered_pairs(subject, pairs)
        return _Task(name, answered, baselines(answered, search.ablation, groups_of(pairs), search.seed))
    except ValueError as error:
        raise ValueError(f"other task {name!r}: {error}") from None


def _found_again(scores: EdgeScores, kept: Flags, groups: Sequence[Hashable], seed: int) -> Resampled | None:
    """Of circuits of as many edges as this one (E,), those with the largest scores."""
    if len(set(groups)) < 2:
        return None
    again = stability(scores, float(kept.mean()), groups, seed=seed)
    return Resampled(
        overlap=Figure.of(again.overlap, again.interval),
        correlation=again.correlation,
        resamples=again.resamples,
    )


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
    edges = [
        CircuitEdge(
            name=str(edge),
            sender_hook=edge.sender.hook,
            receiver_hook=edge.receiver.hook(layers),
            score=score,
            effect=exact.get(edge),
            loss=losses.get(edge),
            strongest=tuple(
                PairScore(pair=pair, score=value) for pair, value in scores.strongest(index, STRONGEST)
            ),
        )
        for index, edge, score in zip(best, (scores.graph[index] for index in best), figures, strict=True)
    ]
    return tuple(sorted(edges, key=lambda edge: -abs(edge.score.value)))


def _figures(values: NDArray[np.float64], groups: Sequence[Hashable]) -> list[Figure]:
    """By column of values (P, K) its mean over groups, with the interval."""
    estimate = clustered_t_interval(values, units_of(groups))
    rows: NDArray[np.float64] = np.stack([estimate.mean, estimate.low, estimate.high], axis=1)
    return [Figure(value=value, low=low, high=high) for value, low, high in rows.tolist()]


def _result(
    answered: PairSet,
    search: CircuitSearch,
    prompts: tuple[Contrast, ...],
    measured_on: int,
    edges: tuple[CircuitEdge, ...],
    measures: CircuitMeasures,
    base: Baselines,
    curve: FaithfulnessCurve,
) -> CircuitGraph:
    subject = answered.splitting.subject
    return CircuitGraph(
        model=subject.name,
        fingerprint=subject.fingerprint,
        metric=answered.metric,
        ablation=search.ablation,
        steps=search.steps,
        seed=search.seed,
        held_out=search.held_out,
        found_on=len(prompts),
        measured_on=measured_on,
        prompts=prompts,
        blocks=tuple(
            Block(heads=block.heads, kv_heads=block.kv_heads, mlp=block.mlp)
            for block in answered.splitting.graph.blocks
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
