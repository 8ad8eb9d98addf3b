"""Names of edges, and which edges a model has."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.circuits.edges.edge import Edge, Receiver, Sender
from lazarus_probe.introspection.circuits.edges.edge_graph import (
    BlockNodes,
    EdgeGraph,
    random_edges,
    random_paths,
)

GRAPH = EdgeGraph((BlockNodes(4, 2), BlockNodes(4, 2), BlockNodes(2, 2, mlp=False)))


def test_every_edge_is_found_by_its_name():
    """Each edge has a name of its own, by which it is found again, and a number."""
    names = [str(GRAPH[index]) for index in range(GRAPH.size)]
    assert len(set(names)) == GRAPH.size
    for index, name in enumerate(names):
        assert GRAPH.index(name) == index
        assert str(Edge.parse(name)) == name


def test_edges_are_those_that_run_forwards():
    """There is an edge for each sender and each receiver that comes after it, and no other."""
    expected = {
        (str(sender), str(receiver))
        for sender in GRAPH.senders
        for receiver in GRAPH.receivers
        if sender.place < receiver.place
    }
    found = {(str(edge.sender), str(edge.receiver)) for edge in GRAPH.named(np.ones(GRAPH.size, dtype=bool))}
    assert found == expected
    # 8 inputs of a block's heads see 1, 6 and 11 senders; its MLP sees 4 more; the logits see 13.
    assert GRAPH.size == 8 * 1 + 5 + 8 * 6 + 10 + 6 * 11 + 13


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("L3.H2 -> L3.H1.q", "runs backwards"),
        ("L7.MLP -> L3.H1.q", "runs backwards"),
        ("L3.MLP -> L3.MLP", "runs backwards"),
        ("L3.H2", "no edge"),
        ("L3.head2 -> logits", "'L3.head2' is no sender"),
        ("embed -> L3.H1.k", "'L3.H1.k' is no receiver"),
        ("logits -> L3.MLP", "'logits' is no sender"),
        ("embed -> L0.H4.q", "no L0.H4.q of embed -> L0.H4.q; block 0 has heads 0 to 3"),
        ("embed -> L9.MLP", "its blocks are 0 to 2"),
        ("L2.MLP -> logits", "no L2.MLP"),
    ],
)
def test_what_is_no_edge_is_refused_by_name(name, said):
    """A name that is none, an edge that runs backwards and one of a node that is not there are refused."""
    with pytest.raises(ValueError, match=said):
        GRAPH.index(name)


def test_the_order_of_computation_is_that_of_blocks():
    """A head comes before the MLP of its block and after that of the block below; the logits come last."""
    assert Sender.parse("L1.H0").place < Receiver.parse("L1.MLP").place
    assert Sender.parse("L0.MLP").place < Receiver.parse("L1.H0.q").place
    assert Sender.parse("L2.H1").place < Receiver("logits").place


def test_shared_keys_serve_equally_many_heads():
    """A block whose keys cannot be shared out evenly is refused."""
    for kv_heads in (0, 3, 8):
        with pytest.raises(ValueError, match=f"{kv_heads} key-value heads for 4 heads"):
            BlockNodes(4, kv_heads)


def test_dangling_edges_are_pruned():
    """What is left lies on a path from the embedding to the logits; a head of shared keys keeps their edge."""
    path = ["embed -> L0.KV1.v", "L0.H3 -> L1.MLP", "L1.MLP -> logits"]
    dangling = [
        "embed -> L0.H0.q",
        "L0.H1 -> L1.H0.q",
        "L0.MLP -> logits",
        "L0.H3 -> L2.H0.q",
        "L1.H2 -> L1.MLP",
    ]
    kept = GRAPH.flags([*path, *dangling])
    assert [str(edge) for edge in GRAPH.named(GRAPH.pruned(kept))] == path
    full = np.ones(GRAPH.size, dtype=bool)
    assert GRAPH.pruned(full).all()
    assert not GRAPH.pruned(GRAPH.flags(path[1:])).any()


def test_names_of_transformer_lens():
    """A node has the hook name of TransformerLens."""
    edge = Edge.parse("L3.H2 -> L7.KV1.k")
    assert (edge.sender.hook, edge.receiver.hook(12)) == (
        "blocks.3.attn.hook_result",
        "blocks.7.hook_k_input",
    )
    assert (Sender().hook, Receiver("logits").hook(12)) == ("hook_embed", "blocks.11.hook_resid_post")


def test_random_circuits_have_the_size_asked_for():
    """As many edges are drawn as asked for, other ones by another seed."""
    first, second = (random_edges(GRAPH, 20, np.random.default_rng(seed)) for seed in range(2))
    assert first.sum() == second.sum() == 20
    assert (first != second).any()


def test_random_paths_lead_somewhere():
    """A random circuit of paths has no dangling edge, about as many edges as asked for, and differs by seed."""
    found = [random_paths(GRAPH, 30, np.random.default_rng(seed)) for seed in range(5)]
    for kept in found:
        assert (GRAPH.pruned(kept) == kept).all()
        assert 30 <= kept.sum() <= 36
    assert len({kept.tobytes() for kept in found}) == 5
    assert random_paths(GRAPH, GRAPH.size, np.random.default_rng(0)).all()
