"""Whether a small circuit does what its model does, as one number to be judged.

A curve of faithfulness is chosen from, and its edges were picked for it. Here the circuit is found on part of the
material and measured on the rest, and its size is declared. It has to be better than random circuits of its shape, and
than what is left without it; its edges have to be needed, and found again in other prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.claims.claim import CIRCUIT_PARTS
from lazarus_probe.introspection.circuits.capped_runs import capped, capped_runs, gap_of, needed_edges
from lazarus_probe.introspection.circuits.circuit_parts import Contrast
from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.circuit_search import STEPS, drawn_apart
from lazarus_probe.introspection.circuits.circuit_tests import (
    FOLDS,
    best_edges,
    found_again,
    stability,
)
from lazarus_probe.introspection.circuits.edge_attribution import EdgeScores, edge_scores
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags
from lazarus_probe.introspection.circuits.faithfulness import units_of
from lazarus_probe.introspection.circuits.find_circuit import STRONGEST
from lazarus_probe.introspection.circuits.pair_sets import PairSet, answered_pairs, plain_values
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.statistics.measurement import Measurement, Part
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.student import clustered_t_interval
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[np.float64]
Parts = tuple[list[int], list[int]]
DRAWN = 60  # edges that a report shows


def faithful_circuit(
    subject: Subject,
    untrained: ControlModels,
    pairs: Sequence[PromptPair],
    units: Mapping[str, Sequence[str]],
    *,
    share: float,
    found_on: float = 0.5,
    steps: int = STEPS,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """How much of a model's answers a circuit of a declared size has, on pairs that it was not found on.

    Pairs count from 0 to 1 (`capped_runs`), with the gap of those that the circuit was found on. Left out edges carry
    what they carry in the corrupted run.

    Controls: `random_circuits`, the mean of ten with as many edges between every two blocks (where there are few, some
    hold the circuit's own by chance; the details say what share is as faithful); `without_circuit`, the model without
    the circuit's edges; and control models with circuits of their own, found in the same way: 0 where a model does
    not tell clean prompts from corrupted ones.

    Parts: `minimality`, the share of its edges that are needed more than nine in ten of those on random paths, on one
    pair each of up to `MINIMAL_PAIRS` units; and `stability`, how much of it is found again in resamples of the units
    that it was found on. The details have the tests of equivalence and independence, the rank correlation of scores in
    these resamples, and how much of the circuit of some units of each kind is in that of all others.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        pairs: P pairs with answers; the targets are the clean prompts.
        units: kinds of independent units by name, (P,) each; the material is parted by the first.
        share: of all edges that are kept, those with the largest scores; fewer once dangling ones are pruned.
        found_on: the share of the first kind of units that the circuit is found on.
        steps: of integrated gradients.
        seed: of the parting, of random circuits and intervals.
        claim: what the measurement is judged by; where its outcome is settled without the control models, they are not
            run.

    Raises:
        ValueError: too few units, a share out of range, as `answered_pairs` or `checked_models`; or a model that does
            not tell clean prompts from corrupted ones, so that there is nothing to find a circuit of.
        UnsupportedArchitecture: its residual stream is no sum of what heads and MLPs write.
        NotFinite: logits are not finite.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; give a share of all edges, above 0 and at most 1")
    parts = parted(next(iter(units.values())), found_on, seed)
    circuit = _PartedCircuit.of(answered_pairs(subject, pairs), parts, share, steps)
    runs = capped_runs(circuit.measuring, circuit.kept, circuit.gap, seed)
    measured_units = {name: [of[row] for row in parts[1]] for name, of in units.items()}
    groups, names = next(iter(measured_units.values())), next(iter(units.values()))
    again = stability(circuit.scores, share, [names[row] for row in parts[0]], seed=seed)
    details = {
        "edges": int(circuit.kept.sum()),
        "of": circuit.graph.size,
        "gap": circuit.gap,
        **runs.tests(groups),
        "score_rank_correlation": again.correlation,
        "found_again": _found_again(circuit, units, share, steps, seed),
        "circuit": circuit.best_edges(pairs, names),
    }

    def measure(measured: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        controls = {name: values for name, values in measured.items() if name not in CIRCUIT_PARTS}
        return rate(
            "capped faithfulness",
            runs.own,
            measured_units,
            controls,
            seed=seed,
            details=details,
            parts=tuple(measured[name] for name in CIRCUIT_PARTS if name in measured),
            unmeasured=left_out,
        )

    def stable() -> Part:
        return Part("stability", again.overlap, again.interval.low, again.interval.high, again.resamples)

    def in_models(models: Sequence[ControlModel | Subject]) -> Floats:
        return np.stack([in_model(built(model)) for model in models])

    def in_model(model: Subject) -> Floats:
        try:
            other = _PartedCircuit.of(circuit.pairs.in_model(model), parts, share, steps)
        except ValueError:
            return np.zeros(len(parts[1]))
        values = circuit_values(other.measuring, other.kept[None])
        return capped(values, plain_values(other.measuring)[1], other.gap)[:, 0]

    minimal = partial(needed_edges, circuit.measuring, circuit.kept, groups, seed)
    costly: dict[str, Callable[[], Any]] = {"minimality": minimal, "stability": stable}
    costly |= {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, runs.controls)


def parted(names: Sequence[str], found_on: float, seed: int) -> Parts:
    """Rows of the units that a circuit is found on, a share of them drawn at random, and of the others.

    Raises:
        ValueError: fewer than two units on either side.
    """
    distinct = len(set(names))
    count = round(found_on * distinct)
    if min(count, distinct - count) < 2:
        raise ValueError(
            f"{count} of {distinct} units to find a circuit on; at least 2 are needed, and 2 others"
        )
    return drawn_apart(names, count, seed)


class _PartedCircuit:
    """A circuit that was found on some of the pairs, to be measured on the others."""

    def __init__(self, pairs: PairSet, parts: Parts, gap: float, scores: EdgeScores, kept: Flags) -> None:
        self.pairs, self.parts, self.gap, self.kept = pairs, parts, gap, kept
        self.measuring = pairs.of(parts[1])
        self.scores, self.graph = scores, scores.graph
        self.best = [index for index in scores.order.tolist() if kept[index]]

    @classmethod
    def of(cls, pairs: PairSet, parts: Parts, share: float, steps: int) -> _PartedCircuit:
        finding = pairs.of(parts[0])
        gap = gap_of(finding)
        scores = edge_scores(finding, steps)
        kept = best_edges(scores.graph, scores.mean, share)
        if not kept.any():
            raise ValueError(f"no path of the {share:g} of edges with the largest scores leads to the logits")
        return cls(pairs, parts, gap, scores, kept)

    def best_edges(self, pairs: Sequence[PromptPair], groups: Sequence[str]) -> dict[str, Any]:
        """The nodes of each block, and the edges with the largest scores: intervals over groups (P,), and pairs."""
        of_groups = units_of([groups[row] for row in self.parts[0]])
        best = self.best[:DRAWN]
        estimate = clustered_t_interval(self.scores.values[:, best], of_groups)
        ends: Floats = np.stack([estimate.mean, estimate.low, estimate.high], axis=1)
        return {
            "blocks": [[block.heads, block.kv_heads, block.mlp] for block in self.graph.blocks],
            "edges": [[str(self.graph[index]), *row] for index, row in zip(best, ends.tolist(), strict=True)],
            "strongest": [self.scores.strongest(index, STRONGEST) for index in best],
            "prompts": [
                [pair.clean, pair.corrupted]
                for pair in (Contrast.of(pairs[row].target, pairs[row].source) for row in self.parts[0])
            ],
        }


def _found_again(
    circuit: _PartedCircuit, units: Mapping[str, Sequence[str]], share: float, steps: int, seed: int
) -> dict[str, list[float]]:
    """By kind of units the overlaps of `found_again` over all pairs, where there are units enough."""
    others = edge_scores(circuit.measuring, steps)
    rows = [*circuit.parts[0], *circuit.parts[1]]
    pool = replace(
        circuit.scores,
        values=np.concatenate([circuit.scores.values, others.values]),
        clean=np.concatenate([circuit.scores.clean, others.clean]),
        corrupted=np.concatenate([circuit.scores.corrupted, others.corrupted]),
    )
    return {
        name: found_again(pool, share, [of[row] for row in rows], seed=seed)
        for name, of in units.items()
        if len(set(of)) >= FOLDS
    }
