"""Exact edge patching: one edge carries what it carries in the corrupted run, and all that follows is computed anew.

Goldowsky-Dill et al. 2023 (arXiv:2304.05969). For one receiver in the whole model this is `path_patch` with MLPs held:
whatever the sender writes reaches all other receivers as it is, and what the receiver then says reaches everything
above it. Here edges of any receivers run together, also within a circuit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edges.edge import Edge
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags
from lazarus_probe.introspection.circuits.pair_sets import PairSet
from lazarus_probe.statistics.student import Estimate, mean_t_interval


@dataclass(frozen=True, eq=False)
class EdgeEffects:
    """Exact effects of edges.

    Attributes:
        edges: K edges.
        values: (P, K) by pair the change of the metric where that edge alone is corrupted.
    """

    edges: tuple[Edge, ...]
    values: NDArray[np.float64]

    @property
    def estimate(self) -> Estimate:
        """(K,) mean over the pairs with its interval."""
        return mean_t_interval(self.values)


def edge_effects(
    pairs: PairSet,
    edges: Sequence[Edge | str],
    within: Flags | None = None,
    ablation: str = "resample",
) -> EdgeEffects:
    """The exact effect of each of some edges: a forward for each.

    Args:
        pairs: P pairs.
        edges: K edges.
        within: (E,) a circuit that the edges are left out of; the whole model by default.
        ablation: what left out edges carry; see `circuit_values`.

    Raises:
        ValueError: no edges, or one that the model or the circuit does not have.
        NotFinite: logits are not finite.
    """
    graph = pairs.splitting.graph
    circuit = np.ones(graph.size, dtype=bool) if within is None else within
    indices = [graph.index(edge) for edge in edges]
    if not indices:
        raise ValueError("no edges; give at least one, such as 'embed -> logits'")
    for index in indices:
        if not circuit[index]:
            raise ValueError(f"{graph[index]} is not in the circuit; give edges that are")
    kept = np.repeat(circuit[None], len(indices) + 1, axis=0)
    kept[np.arange(len(indices)), indices] = False
    values = circuit_values(pairs, kept, ablation)
    return EdgeEffects(tuple(graph[index] for index in indices), values[:, :-1] - values[:, -1:])
