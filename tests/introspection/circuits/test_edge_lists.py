"""Lists of edges from elsewhere: what each format means in a model, and what is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lazarus_probe.introspection.circuits.circuit_files import write_circuit
from lazarus_probe.introspection.circuits.circuit_parts import Block, CircuitEdge
from lazarus_probe.introspection.circuits.edges.edge_graph import BlockNodes, EdgeGraph
from lazarus_probe.introspection.circuits.edges.edge_lists import read_edges
from lazarus_probe.introspection.circuits.edges.edge_names import named_edges
from tests.introspection.circuits.test_circuit_files import CIRCUIT, ONE

# Keys and values of a head alone in the first block, of two heads in the second; the last has no MLP.
GRAPH = EdgeGraph((BlockNodes(4, 4), BlockNodes(4, 2), BlockNodes(4, 2, mlp=False)))
EVERY = np.ones(GRAPH.size, dtype=bool)


def written(tmp_path, content):
    path = tmp_path / "edges"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def names(tmp_path, content):
    """The edges that a file lists."""
    return {str(edge) for edge in GRAPH.named(read_edges(written(tmp_path, content), GRAPH))}


def heads_of(receiver):
    """The query heads that a receiver serves."""
    block = GRAPH.blocks[receiver.layer]
    shared = 1 if receiver.reads == "q" else block.heads // block.kv_heads
    return range(receiver.head * shared, (receiver.head + 1) * shared)


def in_eap(edge):
    """The names that EAP-IG has for an edge: one for each query head."""
    sender, receiver = edge.sender, edge.receiver
    left = "input" if sender.layer is None else f"m{sender.layer}"
    left = left if sender.head is None else f"a{sender.layer}.h{sender.head}"
    if receiver.head is None:
        return [f"{left}->" + ("logits" if receiver.layer is None else f"m{receiver.layer}")]
    return [f"{left}->a{receiver.layer}.h{head}<{receiver.reads}>" for head in heads_of(receiver)]


def in_auto_circuit(edge):
    """The names that auto-circuit has for an edge."""
    sender, receiver = edge.sender, edge.receiver
    left = "Resid Start" if sender.layer is None else f"MLP {sender.layer}"
    left = left if sender.head is None else f"A{sender.layer}.{sender.head}"
    if receiver.head is None:
        return [f"{left}->" + ("Resid End" if receiver.layer is None else f"MLP {receiver.layer}")]
    return [f"{left}->A{receiver.layer}.{head}.{receiver.reads.upper()}" for head in heads_of(receiver)]


def in_hooks(edge):
    """Pairs of hooks of TransformerLens with the index of a head, as ACDC prints it."""
    sender, receiver = edge.sender, edge.receiver
    left = sender.hook if sender.head is None else f"{sender.hook}[:, :, {sender.head}]"
    right = receiver.hook(len(GRAPH.blocks))
    return [[left, right]] if receiver.head is None else [[left, f"{right}.{h}"] for h in heads_of(receiver)]


def test_a_circuit_of_ours_is_read(tmp_path):
    """The edges of a circuit's file are those of the circuit, and a circuit of another model is refused."""
    path = tmp_path / "circuit.json"
    write_circuit(CIRCUIT, path)
    kept = read_edges(path, CIRCUIT.graph)
    assert [str(edge) for edge in CIRCUIT.graph.named(kept)] == ["L0.H3 -> L1.KV1.k", "L1.H0 -> logits"]
    with pytest.raises(
        ValueError, match=r"2 blocks of 4 heads, 2 key-value heads and an MLP, .* 3 blocks of 4"
    ):
        read_edges(path, GRAPH)


def test_our_names_come_back(tmp_path):
    """A line for each edge of a model, with remarks and blank lines between, gives all of them; so does a JSON list."""
    every = [str(edge) for edge in GRAPH.named(EVERY)]
    assert names(tmp_path, "# all\n\n" + "  # why\n".join(every)) == set(every)
    assert names(tmp_path, every) == set(every)
    assert names(tmp_path, {name: index % 2 == 0 for index, name in enumerate(every)}) == set(every[::2])


@pytest.mark.parametrize("named", [in_eap, in_auto_circuit, in_hooks])
def test_every_edge_is_known_by_its_names_elsewhere(named):
    """Each name that another tool has for an edge is that edge, keys and values being those of the head's group."""
    for edge in GRAPH.named(EVERY):
        for name in named(edge):
            sender, receiver = name if isinstance(name, list) else name.split("->")
            assert named_edges(sender, receiver, GRAPH) == [GRAPH.index(edge)]


@pytest.mark.parametrize("named", [in_eap, in_auto_circuit, in_hooks])
def test_lists_in_names_of_other_tools(tmp_path, named):
    """A list of a few edges in another tool's names gives these edges."""
    chosen = {
        "embed -> L0.H1.q",
        "L0.H2 -> L1.KV1.k",
        "L1.MLP -> L2.KV0.v",
        "L0.MLP -> L1.MLP",
        "L2.H3 -> logits",
    }
    listed = [name for edge in GRAPH.named(GRAPH.flags(chosen)) for name in named(edge)]
    assert names(tmp_path, listed) == chosen


def test_a_graph_of_eap_ig(tmp_path):
    """Of a graph as EAP-IG saves it the edges count that are in it, whatever their scores."""
    edges = [
        (name, index % 3 == 0, edge) for index, edge in enumerate(GRAPH.named(EVERY)) for name in in_eap(edge)
    ]
    document = {
        "cfg": {"n_layers": 3, "n_heads": 4, "parallel_attn_mlp": False},
        "nodes": {"input": True, "m1": {"in_graph": False, "score": 0.1}},
        "edges": {name: {"score": 0.5, "in_graph": kept} for name, kept, _ in edges},
    }
    document["edges"]["input->m0"]["score"] = None
    assert names(tmp_path, document) == {str(edge) for _, kept, edge in edges if kept}


def test_objects_with_hooks_and_heads(tmp_path):
    """Hooks and heads apart name an edge; one that is not in the graph is left out, and `hook_attn_in` is three."""
    listed = [
        {
            "sender_hook": "blocks.0.attn.hook_result",
            "sender_head": 2,
            "receiver_hook": "blocks.1.hook_v_input",
            "receiver_head": 3,
            "score": -0.25,
        },
        {"sender_hook": "hook_embed", "receiver_hook": "blocks.0.hook_mlp_in", "in_graph": False},
        {"sender_hook": "hook_embed", "receiver_hook": "blocks.1.hook_attn_in", "receiver_head": 3},
    ]
    assert names(tmp_path, listed) == {
        "L0.H2 -> L1.KV1.v",
        "embed -> L1.H3.q",
        "embed -> L1.KV1.k",
        "embed -> L1.KV1.v",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it lists no edges; write one a line"),
        ("# nothing\n", "it lists no edges"),
        ("[]", "it lists no edges"),
        ('{"edges": {"input->m0": {"score": 1, "in_graph": false}}}', "it lists no edges"),
        ("embed -> L0.MLP\n\nL0.H2\n", "line 3: 'L0.H2' is no edge; write it as in"),
        (
            "embed -> L0.MLP\nembed->L0.MLP\n",
            "line 2: 'embed -> L0.MLP' is line 1 again; list each edge once",
        ),
        ('["input->m0", ["input", "m0"]]', "entry 2: 'input -> m0' is entry 1 again"),
        ('{"input->m0": true, "input->m0": true}', "it names 'input->m0' twice"),
        ("L0.h2 -> logits", "line 1: 'L0.h2' is no sender; did you mean 'L0.H2'"),
        ("a0.h2->a1.h1.q", "'a1.h1.q' is no receiver; did you mean 'A1.1.Q'"),
        ("A0.2->MLP1", "'MLP1' is no receiver; did you mean 'MLP 1'"),
        ("L0.H2 -> L1.H1.k", "'L1.H1.k' is no receiver; .*write L7.H1.q, L7.KV1.k,"),
        ("somewhere -> logits", "'somewhere' is no sender; write embed, L3.H2 or L3.MLP"),
        (f"{'x' * 5000} -> logits", "x...' is no sender"),
        ("m0->blocks.1.hook_resid_post", "did you mean 'blocks.2.hook_resid_post'"),
        ("L1.MLP -> L0.MLP", "line 1: L1.MLP -> L0.MLP runs backwards"),
        ("a1.h0->a1.h1<q>", "L1.H0 -> L1.H1.q runs backwards"),
        ("a0.h4->m1", "no L0.H4 of L0.H4 -> L1.MLP; block 0 has heads 0 to 3"),
        ("input->a1.h4<k>", "no head 4 in block 1; its heads are 0 to 3"),
        ("m7->logits", "its blocks are 0 to 2"),
        ("m2->logits", "no L2.MLP"),
        ('{"input->m0": NaN}', "edge 'input->m0' has nan for in_graph; true or false is needed"),
        ('{"input->m0": 0.5}', "a score alone is no choice"),
        ('{"edges": {"input->m0": {"score": NaN, "in_graph": true}}}', "the score nan; a finite number"),
        (
            '{"edges": {"input->m0": {"score": "high", "in_graph": true}}}',
            "the score 'high'; a finite number",
        ),
        ('{"edges": {"input->m0": {"score": 1}}}', "edge 'input->m0' has None for in_graph"),
        ('{"edges": "all"}', "its edges are 'all'; give a list or an object"),
        ('{"cfg": {"n_layers": 12}, "edges": {}}', "n_layers 12, this one has 3"),
        ('{"cfg": {"n_heads": 12}, "edges": {}}', "n_heads 12, this one has 4"),
        ('{"cfg": 3, "edges": {}}', "cfg is 3"),
        ('{"cfg": {"n_heads": 4, "n_key_value_heads": 2}, "edges": {}}', "2 for n_key_value_heads"),
        ('{"nodes": {"m0": {"neurons": [true, false]}}, "edges": {}}', "'m0' is in with some of its neurons"),
        ('[["input", "m0", "m1"]]', "entry 1 is .* a pair of ends"),
        ('[{"sender": "input"}]', "entry 1 is .* sender_hook, sender_head"),
        ('[{"sender_hook": 3, "receiver_hook": "m0"}]', "3 for sender_hook; give a hook"),
        (
            '[{"sender_hook": "blocks.0.attn.hook_result", "sender_head": 1.5, "receiver_hook": "m0"}]',
            "1.5 for sender_head",
        ),
        (
            '[{"sender_hook": "blocks.0.attn.hook_result", "sender_head": -1, "receiver_hook": "m0"}]',
            "'blocks.0.attn.hook_result.-1' is no sender; did you mean 'blocks.0.attn.hook_result.1'",
        ),
        ('["input->m0"', "edges of .*Expecting"),
        ('{"blocks": 1}', "is no circuit"),
    ],
)
def test_what_is_no_list_is_refused_by_name(tmp_path, content, said):
    """An empty list, unknown names, edges that are not there and marks that say nothing are refused by name."""
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=said.replace("...", r"\.\.\.")) as refusal:
        read_edges(path, GRAPH)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


def test_a_circuit_without_edges_lists_none(tmp_path):
    """A circuit of no edges is refused like an empty list."""
    path = tmp_path / "circuit.json"
    write_circuit(CIRCUIT.model_copy(update={"edges": ()}), path)
    with pytest.raises(ValueError, match="the circuit has no edges"):
        read_edges(path, CIRCUIT.graph)


def test_bytes_that_are_no_text_and_large_files_are_refused(tmp_path, monkeypatch):
    """A file that is not UTF-8, one above the limit and a missing one are refused with the path."""
    path = tmp_path / "edges"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"edges of {path}"):
        read_edges(path, GRAPH)
    monkeypatch.setattr("lazarus_probe.introspection.circuits.edges.edge_lists.MOST_BYTES", 1 << 20)
    path.write_text("#" * (1 << 20) + "#")
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_edges(path, GRAPH)
    with pytest.raises(OSError, match="nowhere"):
        read_edges(tmp_path / "nowhere", GRAPH)


def test_edges_of_a_found_circuit_are_those_of_its_file(tmp_path):
    """A circuit whose blocks differ among each other is read by its own graph."""
    blocks = tuple(Block(heads=block.heads, kv_heads=block.kv_heads, mlp=block.mlp) for block in GRAPH.blocks)
    named = ("embed -> L0.KV3.v", "L0.H3 -> L2.KV1.k", "L2.H0 -> logits")
    edges = tuple(CircuitEdge(name=name, sender_hook="x", receiver_hook="y", score=ONE) for name in named)
    path = tmp_path / "circuit.json"
    write_circuit(CIRCUIT.model_copy(update={"blocks": blocks, "edges": edges}), path)
    assert [str(edge) for edge in GRAPH.named(read_edges(path, GRAPH))] == list(named)
