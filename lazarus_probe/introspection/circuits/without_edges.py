"""Circuits that lack one edge each: below the block of what reads that edge, they are all alike and run once.

A run then begins at that block, with what was sent below it, and costs about half of a circuit's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_runs import hear_some, left_out
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph, Flags
from lazarus_probe.introspection.circuits.pair_sets import PairSet
from lazarus_probe.introspection.circuits.split_runs import Below, Hear, Stream, run_split
from lazarus_probe.subject.fast_gates import fast_gates

Floats = NDArray[np.float64]

# Rows whose senders are all kept at once, so that edges of several circuits share a run.
ROWS_KEPT = 16


@dataclass(frozen=True, eq=False)
class Thinned:
    """A circuit (E,), and the edges that it is to be run without, one at a time."""

    kept: Flags
    edges: Sequence[int]


def values_without(pairs: PairSet, circuits: Sequence[Thinned], ablation: str = "resample") -> list[Floats]:
    """By circuit the metric (P, 1 + K): of the circuit, and of the same without each of its K edges.

    Args:
        pairs: P pairs.
        circuits: with their edges.
        ablation: what left out edges carry; see `circuit_values`.

    Raises:
        ValueError: an unknown ablation.
        NotFinite: logits are not finite.
    """
    elsewhere, kept = left_out(pairs, ablation), np.stack([circuit.kept for circuit in circuits])
    widths = [1 + len(circuit.edges) for circuit in circuits]
    run = ("without", *pairs.key, kept, [list(circuit.edges) for circuit in circuits], ablation)
    ends = np.cumsum(widths)[:-1]
    if (done := pairs.runs.get(*run, shape=(len(pairs), sum(widths)))) is not None:
        return np.split(done, ends, axis=1)
    values, subject = np.empty((len(pairs), sum(widths))), pairs.splitting.subject
    with pairs.runs.bar(values.size, "circuits") as advance, fast_gates(subject, subject.num_layers):
        for indices, tokens, others in pairs.batches(pairs.tokens_at_once):
            batch = _Batch(pairs, indices, tokens, elsewhere(others), advance)
            at_once = max(1, ROWS_KEPT // len(tokens))
            for start in range(0, len(circuits), at_once):
                some = circuits[start : start + at_once]
                values[indices, sum(widths[:start]) : sum(widths[: start + at_once])] = batch.values(some)
    return np.split(pairs.runs.keep(values, *run), ends, axis=1)


@dataclass(frozen=True, eq=False)
class _Batch:
    """B pairs of one length, and what is left out carries in them."""

    pairs: PairSet
    indices: NDArray[np.intp]
    tokens: mx.array
    other: mx.array
    advance: Callable[[int], None]

    @property
    def graph(self) -> EdgeGraph:
        return self.pairs.splitting.graph

    def values(self, circuits: Sequence[Thinned]) -> Floats:
        """(B, columns) the metric of circuits and of each without its edges, one circuit after the other."""
        ends = np.cumsum([1 + len(circuit.edges) for circuit in circuits])
        values, wholes = np.empty((len(self.tokens), int(ends[-1]))), list[_Whole]()
        runs = list[_Without]()
        for circuit, end in zip(circuits, ends.tolist(), strict=True):
            column = end - len(circuit.edges) - 1
            whole = _Whole(hear_some(self.graph, self._matrices(circuit.kept[None]), self.other))
            logits, stream = run_split(self.pairs.splitting, self.tokens, whole.hear)
            values[:, column : column + 1] = self._numbers(logits, 1)
            whole.sent = stream.all
            mx.eval(whole.sent)
            runs += [
                _Without(_first_of_block(self.graph, edge), place, len(wholes), edge)
                for place, edge in enumerate(circuit.edges, column + 1)
            ]
            wholes.append(whole)
        for some in _in_order(runs, max(1, self.pairs.tokens_at_once // self.tokens.size)):
            first, sources = some[0].first, [wholes[without.whole] for without in some]
            rows = mx.concatenate([self.tokens] * len(some))
            kept = np.stack([circuits[without.whole].kept for without in some])
            kept[np.arange(len(some)), [without.edge for without in some]] = False
            hear = hear_some(self.graph, self._matrices(kept), self.other)
            below = _below(self.graph, first, sources)
            logits, _ = run_split(self.pairs.splitting, rows, hear, below=below)
            values[:, [without.column for without in some]] = self._numbers(logits, len(some))
        return values

    def _matrices(self, kept: Flags) -> mx.array:
        """(K, S, N) the edges of circuits (K, E)."""
        return mx.array(self.graph.matrix(kept.astype(np.float32)))

    def _numbers(self, logits: mx.array, circuits: int) -> Floats:
        """(B, K) the metric, from logits (K * B, V)."""
        rows = mx.concatenate([self.tokens] * circuits)
        numbers = self.pairs.numbers(self.pairs.checked(logits, rows), np.tile(self.indices, circuits))
        self.advance(len(rows))
        return np.array(numbers, dtype=np.float64).reshape(circuits, -1).T


@dataclass(eq=False)
class _Whole:
    """The run of a whole circuit: what all senders wrote, and by receiver what is added before it that nobody sent."""

    own: Hear
    sent: mx.array = field(default_factory=lambda: mx.zeros((1,)))
    constants: dict[int, mx.array] = field(default_factory=dict)

    def hear(self, receivers: range, stream: Stream) -> mx.array:
        self.constants[receivers.start] = stream.constant
        return self.own(receivers, stream)


@dataclass(frozen=True, eq=False)
class _Without:
    """A run without an edge: the first receiver of its block, its column, its circuit's number, and the edge."""

    first: int
    column: int
    whole: int
    edge: int


def _in_order(runs: Sequence[_Without], size: int) -> Iterator[list[_Without]]:
    """Runs that begin at about the same block, as many as may run together."""
    ordered = sorted(runs, key=lambda without: without.first)
    yield from (ordered[start : start + size] for start in range(0, len(ordered), size))


def _first_of_block(graph: EdgeGraph, edge: int) -> int:
    """The first receiver of the block of what reads an edge; the logits are a block of their own."""
    receiver = int(graph.ends[1][edge])
    layer = graph.receivers[receiver].layer
    return receiver if layer is None else graph.first_receivers[layer]


def _below(graph: EdgeGraph, first: int, sources: Sequence[_Whole]) -> Below:
    """What was sent below the block of a receiver, its first, in the runs of these circuits."""
    layer, senders = graph.receivers[first].layer, int(graph.below[first])
    return Below(
        len(graph.blocks) if layer is None else layer,
        mx.concatenate([whole.sent[:senders] for whole in sources], axis=1),
        sources[0].constants[first],
    )
