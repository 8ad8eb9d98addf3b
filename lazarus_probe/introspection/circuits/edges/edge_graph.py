"""All nodes and edges of a model as arrays of flags, and the edges of a circuit that lead anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.edges.edge import Edge, Receiver, Sender

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class BlockNodes:
    """The nodes of one block: how many heads, how many that keys and values have, and whether it has an MLP.

    Raises:
        ValueError: keys and values that do not serve equally many heads each.
    """

    heads: int
    kv_heads: int
    mlp: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.kv_heads <= self.heads or self.heads % self.kv_heads:
            raise ValueError(
                f"{self.kv_heads} key-value heads for {self.heads} heads; a number that divides the heads is needed"
            )


@dataclass(frozen=True)
class EdgeGraph:
    """All S senders, N receivers and E edges of a model, in the order of computation.

    Edges are sorted by receiver, and those of a receiver by sender. The senders of a receiver are the first few of all.

    Attributes:
        blocks: the nodes of each block.
    """

    blocks: tuple[BlockNodes, ...]

    @cached_property
    def senders(self) -> tuple[Sender, ...]:
        """The embedding, and by block its heads and its MLP."""
        senders = [Sender()]
        for layer, block in enumerate(self.blocks):
            senders += [Sender(layer, head) for head in range(block.heads)]
            senders += [Sender(layer)] if block.mlp else []
        return tuple(senders)

    @cached_property
    def receivers(self) -> tuple[Receiver, ...]:
        """By block the queries, keys and values of its heads and its MLP; and the logits."""
        receivers = list[Receiver]()
        for layer, block in enumerate(self.blocks):
            receivers += [Receiver("q", layer, head) for head in range(block.heads)]
            receivers += [Receiver(step, layer, head) for step in "kv" for head in range(block.kv_heads)]
            receivers += [Receiver("mlp", layer)] if block.mlp else []
        return (*receivers, Receiver("logits"))

    @cached_property
    def first_receivers(self) -> tuple[int, ...]:
        """By block the index of its first receiver."""
        layers = [receiver.layer for receiver in self.receivers]
        return tuple(layers.index(layer) for layer in range(len(self.blocks)))

    @cached_property
    def below(self) -> NDArray[np.int64]:
        """(N,) how many senders come before each receiver."""
        counts, before = list[int](), 1
        for block in self.blocks:
            counts += [before] * (block.heads + 2 * block.kv_heads)
            counts += [before + block.heads] if block.mlp else []
            before += block.heads + block.mlp
        return np.array([*counts, before])

    @cached_property
    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(E,) indices of each edge's sender and of its receiver."""
        senders = np.concatenate([np.arange(count) for count in self.below])
        return senders, np.repeat(np.arange(len(self.receivers)), self.below)

    @property
    def size(self) -> int:
        """How many edges there are."""
        return int(self.below.sum())

    def __getitem__(self, index: int) -> Edge:
        """The edge of an index."""
        senders, receivers = self.ends
        return Edge(self.senders[senders[index]], self.receivers[receivers[index]])

    def index(self, edge: Edge | str) -> int:
        """The index of an edge.

        Raises:
            ValueError: the model has no such edge; the message names what is not there.
        """
        edge = Edge.parse(edge)
        senders, receivers = self._numbers
        for node, there in (
            (edge.sender, edge.sender in senders),
            (edge.receiver, edge.receiver in receivers),
        ):
            if not there:
                raise ValueError(f"the model has no {node} of {edge}; {self._known(node.layer or 0)}")
        return self.first_edges[receivers[edge.receiver]] + senders[edge.sender]

    @cached_property
    def first_edges(self) -> list[int]:
        """By receiver the index of its first edge."""
        return [0, *np.cumsum(self.below).tolist()]

    @cached_property
    def _numbers(self) -> tuple[dict[Sender, int], dict[Receiver, int]]:
        """The number of each sender, and that of each receiver."""
        senders = {sender: number for number, sender in enumerate(self.senders)}
        receivers = {receiver: number for number, receiver in enumerate(self.receivers)}
        return senders, receivers

    def _known(self, block: int) -> str:
        if block >= len(self.blocks):
            return f"its blocks are 0 to {len(self.blocks) - 1}"
        nodes = self.blocks[block]
        return (
            f"block {block} has heads 0 to {nodes.heads - 1}, key-value heads 0 to {nodes.kv_heads - 1} and "
            f"{'an' if nodes.mlp else 'no'} MLP"
        )

    def flags(self, edges: Iterable[Edge | str]) -> Flags:
        """(E,) whether each edge is one of these.

        Raises:
            ValueError: an edge that the model does not have.
        """
        kept = np.zeros(self.size, dtype=bool)
        kept[[self.index(edge) for edge in edges]] = True
        return kept

    def named(self, kept: Flags) -> list[Edge]:
        """The edges that are flagged (E,)."""
        return [self[index] for index in np.flatnonzero(kept).tolist()]

    def matrix(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of edges (..., E) by sender and receiver (..., S, N), zero where there is no edge."""
        by_nodes = np.zeros((*values.shape[:-1], len(self.senders), len(self.receivers)), values.dtype)
        by_nodes[..., self.ends[0], self.ends[1]] = values
        return by_nodes

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(E,) a number for each edge, the same for those that run between the same two blocks' attention or MLP."""
        places = [
            (self.senders[sender].place, self.receivers[receiver].place)
            for sender, receiver in zip(*(ends.tolist() for ends in self.ends), strict=True)
        ]
        return np.unique(np.array(places), axis=0, return_inverse=True)[1].reshape(-1)

    def window(self, receiver: int, blocks: int) -> range:
        """The receivers from one on to the end of so many blocks; the logits are with the last block."""
        starts = [index for index, of in enumerate(self.receivers) if of.reads == "q" and of.head == 0]
        later = [start for start in starts if start > receiver]
        return range(receiver, later[blocks - 1] if len(later) >= blocks else len(self.receivers))

    def pruned(self, kept: Flags) -> Flags:
        """The flagged edges (E,) that lie on a path of flagged edges from the embedding to the logits.

        The others change nothing where left out edges carry what they carried in another run of the model: a component
        that hears nothing of this run says what it said in that one.
        """
        matrix: NDArray[Any] = self.matrix(kept)
        while True:
            # Whether each sender hears anything, and whether anything that says something computes from each receiver.
            hears = np.array(
                [index == 0 or bool(matrix[:, owned].any()) for index, owned in enumerate(self.inputs_of)]
            )
            heard: NDArray[Any] = np.any(matrix, axis=1)
            used = np.array(
                [
                    receiver.layer is None or any(heard[index] for index in self._fed[number])
                    for number, receiver in enumerate(self.receivers)
                ]
            )
            left: NDArray[Any] = matrix & hears[:, None] & used[None]
            if (left == matrix).all():
                return np.asarray(matrix[self.ends[0], self.ends[1]], dtype=bool)
            matrix = left

    def best(self, order: NDArray[np.intp], count: int) -> Flags:
        """(E,) the circuit of the first `count` edges of an order (E,), with dangling ones left out."""
        kept = np.zeros(self.size, dtype=bool)
        kept[order[:count]] = True
        return self.pruned(kept)

    @cached_property
    def inputs_of(self) -> list[list[int]]:
        """By sender the indices of the receivers that it computes from."""
        numbers = [list[int]() for _ in self.senders]
        for number, senders in enumerate(self._fed):
            for index in senders:
                numbers[index].append(number)
        return numbers

    @cached_property
    def _fed(self) -> list[list[int]]:
        """By receiver the indices of the senders that compute from it; those of shared keys are several."""
        index = self._numbers[0]
        return [[index[sender] for sender in self._fed_by(receiver)] for receiver in self.receivers]

    def _fed_by(self, receiver: Receiver) -> Sequence[Sender]:
        if receiver.layer is None:
            return ()
        if receiver.head is None:
            return (Sender(receiver.layer),)
        block = self.blocks[receiver.layer]
        group = 1 if receiver.reads == "q" else block.heads // block.kv_heads
        return [Sender(receiver.layer, receiver.head * group + shared) for shared in range(group)]


def random_edges(graph: EdgeGraph, count: int, rng: np.random.Generator) -> Flags:
    """(E,) `count` edges drawn at random, as a circuit of equal size to compare with."""
    kept = np.zeros(graph.size, dtype=bool)
    kept[rng.choice(graph.size, size=count, replace=False)] = True
    return kept


def random_paths(graph: EdgeGraph, count: int, rng: np.random.Generator) -> Flags:
    """(E,) a random circuit in which every edge leads somewhere: paths from the embedding to the logits.

    Paths are drawn backwards from the logits, each next sender among all that come before, until there are `count`
    edges, or a few more where the last path brings them. Of more than a quarter of all edges nearly all lead somewhere
    anyway, and they are drawn one by one.
    """
    if count > graph.size // 4:
        return random_edges(graph, count, rng)
    edges = set[int]()
    while len(edges) < count:
        edges.update(random_path(graph, rng).tolist())
    kept = np.zeros(graph.size, dtype=bool)
    kept[list(edges)] = True
    return kept


def random_path(graph: EdgeGraph, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices of the edges of a path from the embedding to the logits, drawn backwards among all senders below."""
    edges, receiver, sender = list[int](), len(graph.receivers) - 1, -1
    while sender != 0:
        sender = int(rng.integers(graph.below[receiver]))
        edges.append(graph.first_edges[receiver] + sender)
        inputs = graph.inputs_of[sender]
        receiver = inputs[int(rng.integers(len(inputs)))] if inputs else receiver
    return np.array(edges, dtype=np.intp)


def random_alike(graph: EdgeGraph, kept: Flags, rng: np.random.Generator) -> Flags:
    """(E,) a random circuit with as many edges between every two blocks as a circuit has."""
    drawn = np.zeros(graph.size, dtype=bool)
    for kind in np.unique(graph.places[kept]):
        of_kind = np.flatnonzero(graph.places == kind)
        drawn[rng.choice(of_kind, size=int(kept[of_kind].sum()), replace=False)] = True
    return drawn
