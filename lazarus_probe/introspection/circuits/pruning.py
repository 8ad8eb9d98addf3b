"""Greedy pruning: edges leave a circuit as long as the circuit does what it did, by exact runs.

In the spirit of ACDC (Conmy et al. 2023, arXiv:2304.14997), but from a circuit that attribution found. In each round
every edge is left out by itself; then they are left out together, the least needed first, as many as can be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edge_patching import edge_effects
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags
from lazarus_probe.introspection.circuits.faithfulness import Baselines
from lazarus_probe.introspection.circuits.pair_sets import PairSet

MARGIN = 0.02
MOST_EDGES = 2000  # a round runs the model once for each edge, and once more


@dataclass(frozen=True, eq=False)
class PrunedCircuit:
    """What is left of a circuit.

    Attributes:
        kept: (E,) its edges.
        before: the faithfulness of the circuit that was pruned.
        after: that of what is left, on the same prompts; these chose the edges, so it flatters.
        runs: how many circuits were run.
    """

    kept: Flags
    before: float
    after: float
    runs: int


def prune_circuit(pairs: PairSet, kept: Flags, base: Baselines, margin: float = MARGIN) -> PrunedCircuit:
    """The circuit without edges that it does not need: its faithfulness moves by no more than a margin.

    No single edge can be left out of the result without moving it further. Dangling edges are left out first.

    Args:
        pairs: P pairs.
        kept: (E,) the edges to begin with.
        base: of the same pairs.
        margin: how far the faithfulness may move, up or down.

    Raises:
        ValueError: a margin below 0, a circuit without edges that lead anywhere, or one of more than `MOST_EDGES`.
        NotFinite: logits are not finite.
    """
    graph = pairs.splitting.graph
    if not margin >= 0:
        raise ValueError(f"margin is {margin}; at least 0 is needed")
    current = graph.pruned(kept)
    if not 0 < current.sum() <= MOST_EDGES:
        raise ValueError(f"the circuit has {current.sum()} edges on a path; give 1 to {MOST_EDGES}")
    begin = _faithfulness(pairs, current[None], base)[0]
    runs, now = 1, begin
    while True:
        edges = np.flatnonzero(current)
        effects = edge_effects(pairs, [graph[index] for index in edges.tolist()], current, base.ablation)
        # What is nearest to the beginning without an edge goes first, so that the last round has tried every edge.
        alone = np.abs(now + effects.values.mean(axis=0) / base.gap - begin)
        order = edges[np.argsort(alone, kind="stable")]
        # Circuits without the first one, two, three ... of the edges in that order.
        smaller = np.repeat(current[None], len(order) - 1, axis=0)
        for count in range(1, len(order)):
            smaller[count - 1, order[:count]] = False
        smaller = np.array([graph.pruned(circuit) for circuit in smaller], dtype=bool).reshape(-1, graph.size)
        runs += len(edges) + 1 + len(smaller)
        shares = _faithfulness(pairs, smaller, base) if len(smaller) else np.zeros(0)
        fitting = np.flatnonzero(np.abs(shares - begin) <= margin)
        if not len(fitting) or not smaller[fitting[-1]].any():
            return PrunedCircuit(current, float(begin), float(now), runs)
        current, now = smaller[fitting[-1]], shares[fitting[-1]]


def _faithfulness(
    pairs: PairSet, kept: Flags, base: Baselines
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(C,) the faithfulness of circuits (C, E)."""
    values = circuit_values(pairs, kept, base.ablation).mean(axis=0)
    return np.asarray((values - base.empty.mean()) / base.gap)
