"""Exact edge patching: one edge carries what it carries in the corrupted run, and all that follows is computed anew.

Goldowsky-Dill et al. 2023 (arXiv:2304.05969). For one receiver in the whole model this is `path_patch` with MLPs held:
whatever the sender writes reaches all other receivers as it is, and what the receiver then says reaches everything
above it. Here edges of any receivers run together, also within a circuit.

In the whole model a run is the model's own from the receiver's block on, and costs half of a forward on average, where
a run of a circuit costs two.
"""

# ruff: noqa: N806 - B, L, D and K are the names that the field and this room give to these sizes

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_runs import left_out
from lazarus_probe.introspection.circuits.edges.edge import Edge, Receiver
from lazarus_probe.introspection.circuits.edges.edge_graph import Flags
from lazarus_probe.introspection.circuits.pair_sets import PairSet
from lazarus_probe.introspection.circuits.split_runs import STEPS, look_inside, run_split
from lazarus_probe.introspection.circuits.without_edges import Thinned, values_without
from lazarus_probe.introspection.patching.resumed_runs import entering, resumed_logits
from lazarus_probe.statistics.student import Estimate, mean_t_interval
from lazarus_probe.subject.fast_gates import fast_gates
from lazarus_probe.taps import Inside, Tap

TOKENS_AT_ONCE = 2048


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
    """The exact effect of each of some edges: half of a forward for each, or of a circuit's run within a circuit.

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
    indices = [graph.index(edge) for edge in edges]
    if not indices:
        raise ValueError("no edges; give at least one, such as 'embed -> logits'")
    named = tuple(graph[index] for index in indices)
    if within is None:
        return EdgeEffects(named, _in_the_model(pairs, named, ablation))
    for index in indices:
        if not within[index]:
            raise ValueError(f"{graph[index]} is not in the circuit; give edges that are")
    (values,) = values_without(pairs, [Thinned(within, indices)], ablation)
    return EdgeEffects(named, values[:, 1:] - values[:, :1])


def _in_the_model(pairs: PairSet, edges: tuple[Edge, ...], ablation: str) -> NDArray[np.float64]:
    """(P, K) by pair the change of the metric where an edge alone is corrupted in the whole model."""
    run = ("edges", *pairs.key, [str(edge) for edge in edges], ablation)
    if (done := pairs.runs.get(*run, shape=(len(pairs), len(edges)))) is not None:
        return done
    values, elsewhere = np.empty((len(pairs), len(edges))), left_out(pairs, ablation)
    subject = pairs.splitting.subject
    with pairs.runs.bar(len(pairs) * len(edges), "edges") as advance, fast_gates(subject, subject.num_layers):
        for indices, tokens, others in pairs.batches(pairs.tokens_at_once):
            batch = _Batch.of(pairs, tokens, elsewhere(others), edges)
            plain = np.array(pairs.numbers(pairs.checked(batch.logits, tokens), indices))
            for columns in batch.groups(edges):
                some = [edges[column] for column in columns]
                rows = mx.concatenate([tokens] * len(some))
                logits = pairs.checked(batch.run(rows, some), rows)
                changed = np.array(pairs.numbers(logits, np.tile(indices, len(some))))
                values[np.ix_(indices, np.array(columns))] = changed.reshape(len(some), -1).T - plain[:, None]
                advance(len(rows))
    return pairs.runs.keep(values, *run)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Clean prompts of one length, with what is known of their runs.

    Attributes:
        pairs: which they are of.
        logits: (B, V) of the model, at the last position.
        before: by block what enters it (B, L, D).
        changes: (S, B, L, D) what senders write elsewhere, less what they write here.
    """

    pairs: PairSet
    logits: mx.array
    before: Mapping[int, mx.array]
    changes: mx.array

    @classmethod
    def of(cls, pairs: PairSet, tokens: mx.array, elsewhere: mx.array, edges: Sequence[Edge]) -> _Batch:
        logits, stream = run_split(pairs.splitting, tokens)
        changes = elsewhere - stream.all
        mx.eval(logits, changes)
        layers = sorted({_block(edge.receiver, pairs) for edge in edges})
        return cls(pairs, logits, entering(pairs.splitting.subject, tokens, layers), changes)

    def groups(self, edges: Sequence[Edge]) -> Iterator[list[int]]:
        """Places of edges whose receivers are in one block, as many as may run together."""
        B, L = self.changes.shape[1:3]
        size = max(1, TOKENS_AT_ONCE // (B * L))
        blocks = [_block(edge.receiver, self.pairs) for edge in edges]
        for block in sorted(set(blocks)):
            places = [place for place, of in enumerate(blocks) if of == block]
            yield from (places[start : start + size] for start in range(0, len(places), size))

    def run(self, tokens: mx.array, edges: Sequence[Edge]) -> mx.array:
        """Logits (K * B, V) of runs from one block on, in each of which an edge carries its change."""
        subject, graph = self.pairs.splitting.subject, self.pairs.splitting.graph
        layer, numbers = _block(edges[0].receiver, self.pairs), graph.senders.index
        resid = mx.concatenate([self.before[layer]] * len(edges))
        changes = mx.concatenate([self.changes[numbers(edge.sender)] for edge in edges])
        heard = (resid.astype(mx.float32) + changes).astype(resid.dtype)
        if layer == subject.num_layers:
            return resumed_logits(subject, tokens, layer, {layer: heard})
        taps, rows = list[Tap](), self.changes.shape[1]
        if any(edge.receiver.reads == "mlp" for edge in edges):
            of_mlp = mx.array([float(edge.receiver.reads == "mlp") for edge in edges for _ in range(rows)])
            add = partial(_plus, of_mlp[:, None, None] * changes)
            taps.append(Tap(subject.anatomy.part("mid", layer), before=add))
        attention = subject.anatomy.part("attention", layer)
        for step in dict.fromkeys(edge.receiver.reads for edge in edges if edge.receiver.reads in STEPS):
            changed = look_inside(
                attention, step, partial(resumed_logits, subject, tokens, layer, {layer: heard})
            )
            heads = [edge.receiver.head if edge.receiver.reads == step else -1 for edge in edges]
            own = mx.repeat(mx.array(heads)[:, None] == mx.arange(changed.shape[2]), rows, axis=0)
            swap = partial(_swapped, own[:, None, :, None], changed)
            taps.append(Tap(attention, inside=Inside(STEPS[step], swap)))
        return resumed_logits(subject, tokens, layer, {layer: resid}, taps)


def _block(receiver: Receiver, pairs: PairSet) -> int:
    """The block of a receiver; that of the logits is past the last."""
    return pairs.splitting.subject.num_layers if receiver.layer is None else receiver.layer


def _plus(change: mx.array, value: mx.array) -> mx.array:
    return (value.astype(mx.float32) + change).astype(value.dtype)


def _swapped(own: mx.array, changed: mx.array, value: mx.array) -> Any:
    return mx.where(own, changed, value)
