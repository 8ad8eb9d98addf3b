"""Edge attribution patching: what corrupting each edge would do to the metric, to first order, for all edges at once.

Syed et al. 2023 (arXiv:2310.10348). An edge's score is what its sender writes in the corrupted run less what it writes
in the clean one, times the gradient of the metric with respect to the input of its receiver, before the norm. With
several steps the gradient is the mean along a line from the corrupted to the clean embeddings (EAP-IG; Hanna et al.
2024, arXiv:2403.17806), which helps where the model saturates: at a softmax that is all but 1 the gradient is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph
from lazarus_probe.introspection.circuits.pair_sets import PairSet
from lazarus_probe.introspection.circuits.split_runs import Hear, Stream, run_split
from lazarus_probe.statistics.student import Estimate, mean_t_interval

# A gradient keeps what every block computes for each of its heads, besides its input.
SHARE_OF_TOKENS = 0.25


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """First-order effects of all edges on the metric.

    Attributes:
        graph: the nodes and edges.
        metric: its name.
        values: (P, E) by pair the change of the metric if the edge carried what it carries in the corrupted run.
        clean: (P,) the metric of the clean prompts.
        corrupted: (P,) that of the corrupted ones.
        steps: gradients that were averaged.
    """

    graph: EdgeGraph
    metric: str
    values: NDArray[np.float64]
    clean: NDArray[np.float64]
    corrupted: NDArray[np.float64]
    steps: int

    @property
    def mean(self) -> NDArray[np.float64]:
        """(E,) mean over the pairs."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def estimate(self) -> Estimate:
        """(E,) mean over the pairs with its interval."""
        return mean_t_interval(self.values)

    @property
    def order(self) -> NDArray[np.intp]:
        """(E,) indices of the edges by the size of their mean, the largest first."""
        return np.argsort(-np.abs(self.mean), kind="stable")

    def strongest(self, edge: int, most: int) -> list[tuple[int, float]]:
        """The pairs on which an edge's score is largest, and the scores, the largest first."""
        values = self.values[:, edge]
        pairs = np.argsort(-np.abs(values), kind="stable")[:most]
        return list(zip(pairs.tolist(), values[pairs].tolist(), strict=True))


def edge_scores(pairs: PairSet, steps: int = 1) -> EdgeScores:
    """Scores of all edges: one forward of the corrupted prompts, and `steps` forwards and backwards of clean ones.

    Args:
        pairs: P pairs.
        steps: 1 for the gradient on the clean prompts (EAP); m for the mean of those at k/m of the way from the
            corrupted embeddings to the clean ones, k = 1 to m (EAP-IG).

    Raises:
        ValueError: `steps` is below 1.
        NotFinite: logits or scores are not finite.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; at least 1 is needed")
    graph = pairs.splitting.graph
    run = ("scores", *pairs.key, steps)
    scores = pairs.runs.get(*run, shape=(len(pairs), graph.size + 2))
    if scores is None:
        with pairs.runs.bar(len(pairs), "attribution") as advance:
            scores = pairs.runs.keep(_scores(pairs, steps, advance), *run)
    return EdgeScores(graph, pairs.metric, scores[:, 2:], scores[:, 0], scores[:, 1], steps)


def _scores(pairs: PairSet, steps: int, advance: Callable[[int], None]) -> NDArray[np.float64]:
    """(P, 2 + E) the metric of clean and of corrupted prompts, and the scores of all edges."""
    graph = pairs.splitting.graph
    values = np.empty((len(pairs), graph.size))
    clean, corrupted = np.empty(len(pairs)), np.empty(len(pairs))
    for indices, tokens, others in pairs.batches(max(1, int(SHARE_OF_TOKENS * pairs.tokens_at_once))):
        logits, other = run_split(pairs.splitting, others)
        corrupted[indices] = np.array(pairs.numbers(pairs.checked(logits, others), indices))
        embedded = None
        gradients, total = list[mx.array](), other.all
        for step in range(steps, 0, -1):
            numbers, sent, of_step = _gradients(pairs, tokens, indices, embedded)
            if step == steps:
                clean[indices] = np.array(numbers)
                own, changes = sent[0], total - sent
            gradients = of_step if not gradients else [a + b for a, b in zip(gradients, of_step, strict=True)]
            mx.eval(gradients)
            embedded = total[0] + (step - 1) / steps * (own - total[0])
        values[indices] = _products(graph, changes, mx.concatenate(gradients) / steps)
        advance(len(indices))
    if not np.isfinite(values).all():
        pair, edge = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"the score of {graph[int(edge)]} is {values[pair, edge]} on pair {pair}; it must be finite"
        )
    return np.concatenate([clean[:, None], corrupted[:, None], values], axis=1)


def _gradients(
    pairs: PairSet, tokens: mx.array, indices: NDArray[np.intp], embedded: mx.array | None
) -> tuple[mx.array, mx.array, list[mx.array]]:
    """The metric (B,), what was sent (S, B, L, D), and by group of receivers the gradient there (n, B, L, D)."""
    splitting = pairs.splitting
    shape = (*tokens.shape, splitting.subject.anatomy.hidden_size)
    zeros = [mx.zeros((len(group), *shape)) for group in _groups(splitting.graph)]

    def total(added: list[mx.array]) -> tuple[mx.array, mx.array, mx.array]:
        logits, stream = run_split(splitting, tokens, hear_more(splitting.graph, added), embedded)
        numbers = pairs.numbers(logits, indices)
        return numbers.sum(), numbers, stream.all

    (_, numbers, sent), gradients = mx.value_and_grad(total)(zeros)
    mx.eval(numbers, sent, gradients)
    if not mx.isfinite(numbers).all().item():
        pairs.checked(run_split(splitting, tokens)[0], tokens)
    return numbers, sent, gradients


def hear_more(graph: EdgeGraph, added: list[mx.array]) -> Hear:
    """Every receiver hears everything and what is added to its input, (n, R, L, D) by those that hear together."""
    starts = {group.start: value for group, value in zip(_groups(graph), added, strict=True)}

    def hear(receivers: range, stream: Stream) -> mx.array:
        return stream.total[None] + starts[receivers.start]

    return hear


def _groups(graph: EdgeGraph) -> list[range]:
    """Ranges of receivers that hear together: the heads of a block, its MLP, the logits."""
    keys = [receiver.place for receiver in graph.receivers]
    starts = [index for index, key in enumerate(keys) if index == 0 or key != keys[index - 1]]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(keys)], strict=True)]


def _products(graph: EdgeGraph, changes: mx.array, gradients: mx.array) -> NDArray[Any]:
    """(B, E) changes (S, B, L, D) times gradients (N, B, L, D), summed over positions and dimensions."""
    left, right = (
        value.swapaxes(0, 1).reshape(value.shape[1], len(value), -1) for value in (changes, gradients)
    )
    products = np.array(left @ right.swapaxes(1, 2), dtype=np.float64)
    return products[:, graph.ends[0], graph.ends[1]]
