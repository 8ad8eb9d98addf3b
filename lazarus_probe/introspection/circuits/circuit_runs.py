"""Runs of circuits: every receiver hears its senders in the circuit as they are, and all others as they were elsewhere.

What the others wrote is that of the corrupted run (resample; Chan et al. 2022), its mean over the prompts (Wang et al.
2022, arXiv:2211.00593), or zero. With all edges that is the model, with none the corrupted run. Biases of output
projections belong to no edge and are always there.
"""

# ruff: noqa: N806 - C is the name that this room gives to the number of circuits

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph, Flags
from lazarus_probe.introspection.circuits.pair_sets import PairSet
from lazarus_probe.introspection.circuits.split_runs import Hear, Stream, run_split
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.fast_gates import fast_gates

Ablation = Literal["resample", "mean", "zero"]
BLOCKS_AT_ONCE = 5  # that hear together what was sent before them
ABLATIONS: tuple[str, ...] = get_args(Ablation)


def circuit_values(pairs: PairSet, kept: Flags, ablation: str = "resample") -> NDArray[np.float64]:
    """The metric of circuits (P, C).

    Args:
        pairs: P pairs.
        kept: (C, E) the edges of each circuit.
        ablation: what left out edges carry: "resample", what they do in the corrupted run of the pair; "mean", the
            mean of that by position over all pairs of that length; "zero", nothing.

    Raises:
        ValueError: an unknown ablation, or flags of another shape.
        NotFinite: logits are not finite.
    """
    graph = pairs.splitting.graph
    elsewhere = left_out(pairs, ablation)
    if kept.ndim != 2 or kept.shape[1] != graph.size:
        raise ValueError(f"kept is {kept.shape}; (circuits, {graph.size}) is needed, a flag for each edge")
    run = ("circuits", *pairs.key, kept, ablation)
    if (done := pairs.runs.get(*run, shape=(len(pairs), len(kept)))) is not None:
        return done
    subject = pairs.splitting.subject
    with (
        pairs.runs.bar(len(pairs) * len(kept), "circuits") as advance,
        fast_gates(subject, subject.num_layers),
    ):
        values = _values(pairs, graph.matrix(kept.astype(np.float32)), elsewhere, advance)
    return pairs.runs.keep(values, *run)


def _values(
    pairs: PairSet,
    matrix: NDArray[Any],
    elsewhere: Callable[[mx.array], mx.array],
    advance: Callable[[int], None],
) -> NDArray[np.float64]:
    """The metric (P, C) of circuits (C, S, N)."""
    graph, C = pairs.splitting.graph, len(matrix)
    values = np.empty((len(pairs), C))
    limit = pairs.tokens_at_once
    for indices, tokens, others in pairs.batches(limit):
        other = elsewhere(others)
        size = max(1, limit // tokens.size)
        for start in range(0, C, size):
            some = mx.array(matrix[start : start + size])
            rows = mx.concatenate([tokens] * len(some))
            logits, _ = run_split(pairs.splitting, rows, hear_some(graph, some, other))
            numbers = pairs.numbers(pairs.checked(logits, rows), np.tile(indices, len(some)))
            values[indices, start : start + size] = np.array(numbers).reshape(len(some), -1).T
            advance(len(rows))
    return values


def left_out(pairs: PairSet, ablation: str) -> Callable[[mx.array], mx.array]:
    """From corrupted prompts (B, L) to what left out senders write, (S, B, L, D) or (S, 1, L, D) for all rows alike.

    Raises:
        ValueError: an unknown ablation.
    """
    if ablation not in ABLATIONS:
        raise ValueError(f"ablation {ablation!r} is unknown; {one_of(ablation, ABLATIONS)}")
    means = dict[int, mx.array]()

    def elsewhere(others: mx.array) -> mx.array:
        if ablation == "mean":
            if not means:
                means.update(_means(pairs))
            return means[others.shape[1]]
        sent = run_split(pairs.splitting, others)[1].all
        sent = mx.zeros_like(sent) if ablation == "zero" else sent
        mx.eval(sent)
        return sent

    return elsewhere


def hear_some(graph: EdgeGraph, kept: mx.array, other: mx.array) -> Hear:
    """In the rows of each circuit receivers hear its senders, and others as they were elsewhere.

    Args:
        graph: the nodes and edges.
        kept: (C, S, N) 1 for each edge of a circuit.
        other: (S, B, L, D), or (S, 1, L, D) for all rows alike, what left out senders write.
    """
    changes = list[mx.array]()  # (C, n, B * L * D) by several senders together, in their order
    elsewhere, taken = mx.zeros((1,)), 0
    window, before, heard_before = range(0), 0, mx.zeros((1,))

    def take(sent: mx.array, joined: int) -> None:
        nonlocal elsewhere
        start = sum(change.shape[1] for change in changes)
        written = other[start : start + len(sent)]
        apart = sent.reshape(len(sent), len(kept), -1, *sent.shape[2:]) - written[:, None]
        changes.append(apart.swapaxes(0, 1).reshape(len(kept), len(sent), -1))
        elsewhere = elsewhere + written.sum(axis=0)
        # Few large products are faster than many small ones: what came before is joined to what is as large.
        while len(changes) > joined + 1 and changes[-2].shape[1] <= changes[-1].shape[1]:
            changes[-2:] = [mx.concatenate(changes[-2:], axis=1)]

    def sums(receivers: range, first: int, last: int | None) -> mx.array:
        """(C, n, B * L * D) what receivers hear of some of the changes."""
        total, start = None, sum(change.shape[1] for change in changes[:first])
        for change in changes[first:last]:
            some = kept[:, start : start + change.shape[1], receivers.start : receivers.stop].swapaxes(1, 2)
            total = some @ change if total is None else mx.addmm(total, some, change)
            start += change.shape[1]
        return mx.zeros((1, 1, 1)) if total is None else total

    def hear(receivers: range, stream: Stream) -> mx.array:
        nonlocal taken, window, before, heard_before
        for sent in stream.sent[taken:]:
            take(sent, before)
        taken = len(stream.sent)
        if receivers.start not in window:
            # What came before is read from memory once for the receivers of several blocks, which is what costs.
            changes[:] = [mx.concatenate(changes, axis=1)]
            window, before = graph.window(receivers.start, BLOCKS_AT_ONCE), 1
            heard_before = sums(window, 0, before)
        of_window = heard_before[:, receivers.start - window.start : receivers.stop - window.start]
        heard = of_window + sums(receivers, before, None)
        rows = stream.total.shape
        heard = heard.swapaxes(0, 1).reshape(len(receivers), len(kept), -1, *rows[1:])
        return (heard + elsewhere).reshape(len(receivers), *rows) + stream.constant

    return hear


def _means(pairs: PairSet) -> dict[int, mx.array]:
    """By length (S, 1, L, D) what senders write in the corrupted runs, on average."""
    sums: dict[int, mx.array] = {}
    counts: dict[int, int] = {}
    for _, _, others in pairs.batches(pairs.tokens_at_once):
        length = others.shape[1]
        sent: Any = run_split(pairs.splitting, others)[1].all.sum(axis=1, keepdims=True)
        sums[length] = sums[length] + sent if length in sums else sent
        counts[length] = counts.get(length, 0) + len(others)
        mx.eval(sums)
    return {length: value / counts[length] for length, value in sums.items()}
