"""A circuit that someone else found, or wrote down, held against the model on prompts of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.introspection.circuits.capped_runs import capped_runs, gap_of, needed_edges
from lazarus_probe.introspection.circuits.edges.edge import Edge
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags
from lazarus_probe.introspection.circuits.pair_sets import answered_pairs
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CLAIM = "listed-circuit-is-faithful"


def listed_circuit(
    subject: Subject,
    pairs: Sequence[PromptPair],
    edges: Sequence[Edge | str] | Flags,
    units: Mapping[str, Sequence[str]] | None = None,
    *,
    seed: int = 0,
) -> Measurement:
    """How much of a model's answers a circuit has that is given as its edges.

    Each pair counts from 0 to 1 (`capped_runs`); left out edges carry what they carry in the corrupted run. Controls
    are random circuits with as many edges between every two blocks, and the model without the circuit. Its part is
    `minimality`, and the details have the tests of equivalence and independence. A circuit that was found on these
    very pairs is flattered.

    Args:
        subject: the model.
        pairs: P pairs; the targets are the clean prompts, their sources the corrupted ones, with as many tokens.
        edges: of the circuit, by name or as flags (E,); those that lead nowhere are left out.
        units: kinds of independent units by name, (P,) each; by default the pairs' groups, or each pair by itself.
        seed: of random circuits, edges and intervals.

    Raises:
        ValueError: no pairs, unequal lengths, equal answers, an edge that the model does not have, no edge on a path
            from the embedding to the logits, or a model that does not tell clean prompts from corrupted ones.
        UnsupportedArchitecture: its residual stream is no sum of what heads and MLPs write.
        NotFinite: logits are not finite.

    Example:
        >>> from lazarus_probe.introspection import PromptPair, listed_circuit
        >>> operands = [(7, 8), (6, 9), (8, 9), (7, 6)]
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in operands]
        >>> edges = ["embed -> L0.KV0.v", "L0.H0 -> L0.MLP", "L0.MLP -> L7.MLP", "L7.MLP -> logits"]
        >>> measurement = listed_circuit(subject, pairs, edges)
        >>> measurement.details["edges"], [control.name for control in measurement.controls]
        (4, ['without_circuit', 'random_circuits'])
    """
    answered = answered_pairs(subject, pairs)
    graph = answered.splitting.graph
    named = edges if isinstance(edges, np.ndarray) else graph.flags(edges)
    kept = graph.pruned(named)
    if not kept.any():
        raise ValueError(
            f"none of the {int(named.sum())} edges is on a path from the embedding to the logits; give all edges of "
            "the circuit, those out of the embedding and those into the logits included"
        )
    of_pairs = {
        "pair": [f"pair {number}" if pair.group is None else pair.group for number, pair in enumerate(pairs)]
    }
    kinds = of_pairs if units is None else dict(units)
    groups, gap = next(iter(kinds.values())), gap_of(answered)
    runs = capped_runs(answered, kept, gap, seed)
    minimality = None if kept.all() else needed_edges(answered, kept, groups, seed)
    return rate(
        "capped faithfulness",
        runs.own,
        kinds,
        runs.controls,
        seed=seed,
        parts=() if minimality is None else (minimality,),
        details={
            "edges": int(kept.sum()),
            "listed": int(named.sum()),
            "of": graph.size,
            "gap": gap,
            **runs.tests(groups),
        },
    )
