"""Where the nodes and edges of a drawn circuit lie: the embedding at the bottom, blocks upwards, the logits on top.

A block's heads are in a row, keys and values that several share below them, and its MLP beside and above, for it reads
what the heads write. Edges enter a head from below and an MLP from the left; those among MLPs are arcs on the right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lazarus_probe.introspection.circuits.circuit_parts import CircuitEdge
from lazarus_probe.introspection.circuits.edges.edge import Edge, Receiver, Sender
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph

WIDE, HIGH, PITCH = 46.0, 24.0, 66.0  # of a node, and from one head to the next
LEFT, RIGHT, TOP, BOTTOM = 52.0, 18.0, 24.0, 20.0  # what is kept free around the nodes
NARROWEST, NARROWEST_OF_MANY, MANY_EDGES = 520.0, 780.0, 80
BETWEEN, TO_SHARED, TO_MLP = 52.0, 38.0, 30.0  # from one row of nodes to the next within and between blocks
MANY_BLOCKS, CLOSER = 12, 0.8  # from so many on, rows are closer
MOST_BOW = 260.0
APART = 6.0  # where edges leave and enter the side of a node

Place = tuple[float, float]


@dataclass(frozen=True)
class Node:
    """A node with its centre and width; `reads` are the inputs of a head that edges lead to."""

    name: str
    kind: str
    x: float
    y: float
    width: float = WIDE
    reads: str = ""


@dataclass(frozen=True)
class Line:
    """An edge, the names of its nodes, and its curve from end to end with two control points between."""

    edge: CircuitEdge
    nodes: tuple[str, str]
    points: tuple[Place, Place, Place, Place]


@dataclass(frozen=True)
class Layout:
    """A circuit on paper: `rows` are blocks with their middle, `ties` run from shared keys to their heads."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]
    ties: tuple[tuple[Place, Place], ...]
    rows: tuple[tuple[int, float], ...]


def layout(edges: Sequence[CircuitEdge], graph: EdgeGraph) -> Layout:
    """The nodes that edges touch, and the edges, on paper of the size that they need."""
    parsed = [Edge.parse(edge.name) for edge in edges]
    ends = [(str(edge.sender), home_of(edge.receiver, graph)) for edge in parsed]
    touched = {name for pair in ends for name in pair}
    slots = {layer: _slots(layer, touched, graph) for layer in _layers(touched)}
    bow = max((_bow(edge, slots) for edge in parsed if _beside(edge)), default=0.0)
    most = max(map(len, slots.values()), default=1)
    column = PITCH if any(name.endswith("MLP") for name in touched) else 0.0
    narrowest = NARROWEST if len(edges) < MANY_EDGES else NARROWEST_OF_MANY
    heads = max(most * PITCH, narrowest - LEFT - RIGHT - column - 0.75 * bow)
    nodes, rows, height = _nodes(touched, slots, graph, heads, column)
    reads = defaultdict[str, set[str]](set)
    for edge, (_, read) in zip(parsed, ends, strict=True):
        reads[read].add(edge.receiver.reads)
    drawn = [Node(n.name, n.kind, n.x, n.y, n.width, _inputs(n.kind, reads[n.name])) for n in nodes.values()]
    lines = [
        Line(shown, pair, _curve(edge, nodes[pair[0]], nodes[pair[1]], slots))
        for shown, edge, pair in zip(edges, parsed, ends, strict=True)
    ]
    width = LEFT + heads + column + 0.75 * bow + RIGHT
    return Layout(width, height, tuple(drawn), tuple(lines), _ties(nodes, graph), rows)


def home_of(receiver: Receiver, graph: EdgeGraph) -> str:
    """The node that a receiver is drawn at: its head or MLP, or the key-value head where several heads share one."""
    if receiver.layer is None or receiver.head is None:
        return str(receiver)
    block = graph.blocks[receiver.layer]
    own = receiver.reads == "q" or block.kv_heads == block.heads
    return f"L{receiver.layer}.{'H' if own else 'KV'}{receiver.head}"


def _layers(touched: set[str]) -> list[int]:
    return sorted({int(name[1:].partition(".")[0]) for name in touched if name.startswith("L")})


def _slots(layer: int, touched: set[str], graph: EdgeGraph) -> list[int]:
    """Heads of a block in the order in which they are drawn; one also where shared keys have none of theirs."""
    block = graph.blocks[layer]
    heads = {head for head in range(block.heads) if f"L{layer}.H{head}" in touched}
    group = block.heads // block.kv_heads
    for shared in range(block.kv_heads):
        if f"L{layer}.KV{shared}" in touched and not heads & {*range(shared * group, (shared + 1) * group)}:
            heads.add(shared * group)
    return sorted(heads)


def _nodes(
    touched: set[str], slots: Mapping[int, list[int]], graph: EdgeGraph, heads: float, column: float
) -> tuple[dict[str, Node], tuple[tuple[int, float], ...], float]:
    """The nodes by name, the blocks with their middle, and the height of it all."""
    close = CLOSER if len(slots) >= MANY_BLOCKS else 1.0
    up, placed, rows = BOTTOM + HIGH / 2, list[Node](), list[tuple[int, float]]()
    middle, span = LEFT + (heads + column) / 2, heads + column
    if "embed" in touched:
        placed.append(Node("embed", "end", middle, up, span))
    for layer, row in slots.items():
        up += BETWEEN * close
        low, spread = up, min(heads / max(len(row), 1), 2 * PITCH)
        at = {
            head: LEFT + heads / 2 + spread * (place - (len(row) - 1) / 2) for place, head in enumerate(row)
        }
        shared = [
            name
            for name in (f"L{layer}.KV{n}" for n in range(graph.blocks[layer].kv_heads))
            if name in touched
        ]
        for name in shared:
            mine = [at[head] for head in row if head in _group(name, graph)]
            placed.append(Node(name, "shared", sum(mine) / len(mine), up))
        own = [head for head in row if f"L{layer}.H{head}" in touched]
        up += TO_SHARED * close if shared and own else 0.0
        placed += [Node(f"L{layer}.H{head}", "head", at[head], up) for head in own]
        if f"L{layer}.MLP" in touched:
            up += TO_MLP * close if row else 0.0
            placed.append(Node(f"L{layer}.MLP", "mlp", LEFT + heads + column - WIDE / 2, up))
        rows.append((layer, (low + up) / 2))
    up += BETWEEN * close
    if "logits" in touched:
        placed.append(Node("logits", "end", middle, up, span))
    height = up + HIGH / 2 + TOP
    nodes = {node.name: Node(node.name, node.kind, node.x, height - node.y, node.width) for node in placed}
    return nodes, tuple((layer, height - y) for layer, y in rows), height


def _group(name: str, graph: EdgeGraph) -> range:
    """The heads that share the keys and values of a node, as `L3.KV1`."""
    layer, shared = (int(number) for number in name[1:].split(".KV"))
    size = graph.blocks[layer].heads // graph.blocks[layer].kv_heads
    return range(shared * size, (shared + 1) * size)


def _ties(nodes: Mapping[str, Node], graph: EdgeGraph) -> tuple[tuple[Place, Place], ...]:
    """From each node of shared keys to those of its heads that are drawn."""
    return tuple(
        ((node.x, node.y - HIGH / 2), (head.x, head.y + HIGH / 2))
        for name, node in nodes.items()
        if node.kind == "shared"
        for number in _group(name, graph)
        if (head := nodes.get(f"{name.partition('.')[0]}.H{number}"))
    )


def _inputs(kind: str, reads: set[str]) -> str:
    return "".join(step for step in "qkv" if step in reads) if kind in ("head", "shared") else ""


def _beside(edge: Edge) -> bool:
    """Whether an edge is an arc on the right: among MLPs, the embedding and the logits."""
    return edge.sender.head is None and edge.receiver.head is None


def _row(node: Sender | Receiver, slots: Mapping[int, list[int]]) -> int:
    """The place of a node's block among those that are drawn."""
    if node.layer is None:
        return -1 if isinstance(node, Sender) else len(slots)
    return list(slots).index(node.layer)


def _bow(edge: Edge, slots: Mapping[int, list[int]]) -> float:
    """How far an arc swings out: the further, the more blocks it passes by."""
    passed = _row(edge.receiver, slots) - _row(edge.sender, slots)
    return min(14.0 + 19.0 * passed**0.85, MOST_BOW)


def _curve(
    edge: Edge, sent: Node, read: Node, slots: Mapping[int, list[int]]
) -> tuple[Place, Place, Place, Place]:
    if _beside(edge):
        start, end = (sent.x + sent.width / 2, sent.y - APART), (read.x + read.width / 2, read.y + APART)
        out = max(start[0], end[0]) + _bow(edge, slots)
        return start, (out, start[1]), (out, end[1]), end
    if read.kind == "mlp":  # from a head
        start, end = (sent.x, sent.y - HIGH / 2), (read.x - read.width / 2, read.y)
        rise = start[1] - end[1]
        return (
            start,
            (start[0], start[1] - max(14.0, 0.6 * rise)),
            (end[0] - max(20.0, 0.25 * rise), end[1]),
            end,
        )
    return _upwards(edge, sent, read, passes=_row(edge.receiver, slots) - _row(edge.sender, slots) > 1)


def _upwards(edge: Edge, sent: Node, read: Node, *, passes: bool) -> tuple[Place, Place, Place, Place]:
    """From the top of a node to the bottom of one above, beside what is between where it passes blocks by."""
    port = _port(edge.receiver, read)
    start = port if sent.kind == "end" else sent.x
    end = sent.x if read.kind == "end" else port
    numbers = (edge.sender.layer or 0) + (edge.receiver.layer or 0) + (edge.receiver.head or 0)
    side = (PITCH / 2 if numbers % 2 else -PITCH / 2) if passes and abs(start - end) < PITCH / 2 else 0.0
    lean = 0.35 * (end - start) if sent.kind == "mlp" else side
    low, high = sent.y - HIGH / 2, read.y + HIGH / 2
    reach = max(16.0, 0.45 * (low - high))
    if sent.kind == "end":
        return (start + side, low), (start + side, low - reach), (end, high + reach), (end, high)
    if read.kind == "end":
        return (start, low), (start, low - reach), (end + side, high + reach), (end + side, high)
    return (start, low), (start + lean, low - reach), (end + side, high + reach), (end, high)


def _port(receiver: Receiver, node: Node) -> float:
    """Where an edge enters: queries, keys and values beside each other."""
    if node.kind == "shared":
        return node.x + {"k": -11.0, "v": 11.0}[receiver.reads]
    return node.x + {"q": -12.0, "k": 0.0, "v": 12.0}.get(receiver.reads, 0.0)
