"""Whether a small circuit does what its model does, as one number to be judged.

A curve of faithfulness is chosen from, its edges were picked for it, and a ratio of means may hide pairs on which the
circuit fails behind others on which it overshoots. Here the circuit is found on part of the material and measured on
the rest, its size is declared, and each pair counts from 0 to 1. It has to be better than random circuits of its shape,
and than what is left without it; its edges have to be needed, and found again in other prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.claims.claim import CIRCUIT_PARTS
from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.circuit_tests import (
    FOLDS,
    best_edges,
    equivalence,
    found_again,
    minimality,
    stability,
)
from lazarus_probe.introspection.circuits.edge_attribution import EdgeScores, edge_scores
from lazarus_probe.introspection.circuits.edge_graph import Flags, random_alike
from lazarus_probe.introspection.circuits.find_circuit import STEPS, answered_pairs, drawn_apart
from lazarus_probe.introspection.circuits.independence import dependence
from lazarus_probe.introspection.circuits.pair_sets import PairSet, plain_values
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.statistics.measurement import Measurement, Part
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.student import mean_t_interval
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[np.float64]
Parts = tuple[list[int], list[int]]
RANDOM = 10  # circuits
MINIMAL_PAIRS = 8  # on which edges are left out one by one, a hundred runs each


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

    A pair counts the metric of the circuit less that of the empty one, over the mean gap between the model and the
    empty circuit where the circuit was found, from 0 to 1. Left out edges carry what they carry in the
    corrupted run.

    Controls: `random_circuits`, the mean of ten with as many edges between every two blocks (where there are few, some
    hold the circuit's own by chance; the details say what share is as faithful); `without_circuit`, the model without
    the circuit's edges; and control models with circuits of their own, found in the same way: 0 where a model does
    not tell clean prompts from corrupted ones.

    Parts: `minimality`, the share of its edges that are needed more than nine in ten of those on random paths, on one
    pair each of up to `MINIMAL_PAIRS` units; and `stability`, how much of it is found again in resamples of the units
    that it was found on. The details have the tests of equivalence and independence, and how much of the circuit of
    some units of each kind is in that of all others.

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
    rng = np.random.default_rng(seed)
    circuits = [
        circuit.kept,
        ~circuit.kept,
        *(random_alike(circuit.graph, circuit.kept, rng) for _ in range(RANDOM)),
    ]
    values = circuit_values(circuit.measuring, np.stack(circuits))
    own, without, *random = circuit.capped(values).T
    as_faithful = np.mean([values.mean() >= own.mean() for values in random])
    measured_units = {name: [of[row] for row in parts[1]] for name, of in units.items()}
    signs = equivalence(values[:, 0], circuit.plain[0], next(iter(measured_units.values())))
    details = {
        "edges": int(circuit.kept.sum()),
        "of": circuit.graph.size,
        "gap": circuit.gap,
        "random_as_faithful": float(as_faithful),
        "outdoes_model": {
            "share": signs.share,
            "low": signs.interval.low,
            "high": signs.interval.high,
            "p": signs.p,
        },
        "rest_follows_model_p": _dependence_p(values[:, 1], circuit.plain[0]),
        "found_again": _found_again(circuit, units, share, steps, seed),
        "best_edges": [str(circuit.graph[index]) for index in circuit.best[:10]],
    }

    def measure(measured: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        controls = {name: values for name, values in measured.items() if name not in CIRCUIT_PARTS}
        of_controls = tuple(name for name in left_out if name not in CIRCUIT_PARTS)
        measurement = rate(
            "capped faithfulness",
            own,
            measured_units,
            controls,
            seed=seed,
            details=details,
            unmeasured=of_controls,
        )
        made = tuple(measured[name] for name in CIRCUIT_PARTS if name in measured)
        return replace(measurement, parts=made, unmeasured=left_out)

    def minimal() -> Part:
        some = one_of_each(next(iter(measured_units.values())), MINIMAL_PAIRS, seed)
        needed = minimality(circuit.measuring.of(some), circuit.kept, seed=seed)
        return Part("minimality", needed.share, needed.interval.low, needed.interval.high, len(needed.edges))

    def stable() -> Part:
        groups = [next(iter(units.values()))[row] for row in parts[0]]
        again = stability(circuit.scores, share, groups, seed=seed)
        return Part("stability", again.overlap, again.interval.low, again.interval.high, again.resamples)

    def in_models(models: Sequence[ControlModel | Subject]) -> Floats:
        return np.stack([in_model(built(model)) for model in models])

    def in_model(model: Subject) -> Floats:
        try:
            other = _PartedCircuit.of(answered_pairs(model, pairs), parts, share, steps)
        except ValueError:
            return np.zeros(len(own))
        return other.capped(circuit_values(other.measuring, other.kept[None]))[:, 0]

    costly: dict[str, Callable[[], Any]] = {"minimality": minimal, "stability": stable}
    costly |= {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(
        claim, measure, costly, {"without_circuit": without, "random_circuits": np.mean(random, axis=0)}
    )


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
        clean, corrupted = plain_values(finding)
        gap = mean_t_interval(clean - corrupted)
        if not gap.low > 0:
            raise ValueError(
                f"{pairs.metric} is {clean.mean():.3g} on clean prompts and {corrupted.mean():.3g} on corrupted ones, "
                f"a difference in [{gap.low:.3g}, {gap.high:.3g}]; give prompts that the model tells apart"
            )
        scores = edge_scores(finding, steps)
        kept = best_edges(scores.graph, scores.mean, share)
        if not kept.any():
            raise ValueError(f"no path of the {share:g} of edges with the largest scores leads to the logits")
        return cls(pairs, parts, float(gap.mean), scores, kept)

    @cached_property
    def plain(self) -> tuple[Floats, Floats]:
        """(P,) the model's metric on clean and on corrupted prompts of the pairs to measure on."""
        return plain_values(self.measuring)

    def capped(self, values: Floats) -> Floats:
        """(P, C) what circuits have of the model's answers, from their metric, pair by pair and from 0 to 1."""
        # With no edges a circuit is the corrupted run.
        return np.clip((values - self.plain[1][:, None]) / self.gap, 0, 1)


def _dependence_p(rest: Floats, model: Floats) -> float | None:
    """Whether what is left without a circuit still follows the model, by HSIC; None where that cannot be tested."""
    try:
        return dependence(rest, model).p
    except ValueError:  # too few pairs, or the rest says the same on all
        return None


def _found_again(
    circuit: _PartedCircuit, units: Mapping[str, Sequence[str]], share: float, steps: int, seed: int
) -> dict[str, list[float]]:
    """By kind of units the overlaps of `found_again` over all pairs, where there are units enough."""
    others = edge_scores(circuit.measuring, steps)
    rows = [*circuit.parts[0], *circuit.parts[1]]
    every = replace(
        circuit.scores,
        values=np.concatenate([circuit.scores.values, others.values]),
        clean=np.concatenate([circuit.scores.clean, others.clean]),
        corrupted=np.concatenate([circuit.scores.corrupted, others.corrupted]),
    )
    return {
        name: found_again(every, share, [of[row] for row in rows], seed=seed)
        for name, of in units.items()
        if len(set(of)) >= FOLDS
    }


def one_of_each(groups: Sequence[str], most: int, seed: int) -> list[int]:
    """A row of each of up to so many groups, both drawn at random."""
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(groups))
    drawn = [names[index] for index in rng.permutation(len(names))[:most].tolist()]
    return sorted(
        int(rng.choice([row for row, name in enumerate(groups) if name == group])) for group in drawn
    )
