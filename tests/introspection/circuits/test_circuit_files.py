"""Circuits come back from their files as they were, and what is no circuit is refused by name."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.introspection.circuits.circuit_files import read_circuit, write_circuit
from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph
from lazarus_probe.introspection.circuits.circuit_parts import (
    Block,
    CircuitEdge,
    Contrast,
    CurvePoint,
    Figure,
)

ONE = Figure(value=1.0, low=0.5, high=1.5)
CIRCUIT = CircuitGraph(
    model="tiny",
    fingerprint="0" * 64,
    metric="logit_diff",
    ablation="resample",
    steps=5,
    seed=0,
    held_out=True,
    found_on=4,
    measured_on=5,
    blocks=(Block(heads=4, kv_heads=2, mlp=True), Block(heads=4, kv_heads=2, mlp=False)),
    edges=(
        CircuitEdge(
            name="L0.H3 -> L1.KV1.k",
            sender_hook="blocks.0.attn.hook_result",
            receiver_hook="blocks.1.hook_k_input",
            score=ONE,
            effect=ONE,
        ),
        CircuitEdge(
            name="L1.H0 -> logits",
            sender_hook="blocks.1.attn.hook_result",
            receiver_hook="blocks.1.hook_resid_post",
            score=ONE,
        ),
    ),
    clean=3.0,
    empty=-1.0,
    faithfulness=ONE,
    without=ONE,
    random=(0.0, 0.1),
    curve=(CurvePoint(edges=2, left=2, faithfulness=ONE),),
    cpr=ONE,
    cmd=ONE,
)


def written(tmp_path, change):
    document = json.loads(json.dumps(CIRCUIT.as_data()))
    change(document)
    path = tmp_path / "circuit.json"
    path.write_text(json.dumps(document))
    return path


def test_a_circuit_comes_back_as_it_was(tmp_path):
    """What is read is what was written, with names of TransformerLens beside ours, and the edges are there."""
    path = tmp_path / "made" / "circuit.json"
    write_circuit(CIRCUIT, path)
    found = read_circuit(path)
    assert found == CIRCUIT
    assert [str(edge) for edge in found.named()] == ["L0.H3 -> L1.KV1.k", "L1.H0 -> logits"]
    assert json.loads(path.read_text())["edges"][0]["receiver_hook"] == "blocks.1.hook_k_input"
    assert [file.name for file in path.parent.iterdir()] == ["circuit.json"]


def test_what_a_command_adds_is_left_out(tmp_path):
    """A file that a command saved, with what its run was, holds the same circuit."""
    assert read_circuit(written(tmp_path, lambda found: found.update(about={"device": "cpu"}))) == CIRCUIT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found.pop("cpr"), "cpr"),
        (lambda found: found.update(more=1), "more"),
        (lambda found: found.update(clean=float("nan")), "clean"),
        (lambda found: found.update(ablation="noise"), "ablation"),
        (lambda found: found.update(blocks=[]), "blocks"),
        (lambda found: found["blocks"][0].update(heads=10**9), "heads"),
        (lambda found: found["blocks"][0].update(kv_heads=3), "3 key-value heads for 4 heads"),
        (lambda found: found.update(blocks=[found["blocks"][0] | {"heads": 1024}] * 1000), "at most 20000"),
        (lambda found: found.update(schema_version=2), "has schema 2, this version reads up to 1"),
        (lambda found: found["edges"][0].update(name="L1.H0 -> L0.H1.q"), "runs backwards"),
        (lambda found: found["edges"][0].update(name="L1.MLP -> logits"), "no L1.MLP"),
        (lambda found: found["edges"].append(found["edges"][0]), "list each edge once"),
        (lambda found: found["edges"][0].update(strongest=[{"pair": 0, "score": 1.0}]), "names pair 0 of 0"),
        (lambda found: found["edges"][0].update(strongest=[{"pair": -1, "score": 1.0}]), "pair"),
        (lambda found: found.update(prompts=[{"clean": "x" * 1001, "corrupted": "y"}]), "prompts"),
    ],
)
def test_what_is_no_circuit_is_refused_by_name(tmp_path, change, said):
    """A file with something missing, unknown, not finite, too large or not of its model is refused by what is wrong."""
    path = written(tmp_path, change)
    with pytest.raises(ValueError, match=said) as refusal:
        read_circuit(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_long_prompts_are_kept_by_their_ends(tmp_path):
    """A prompt of any length fits into the file, which keeps the end of one that is too long."""
    contrast = Contrast.of("a" * 5000 + " end", "short")
    assert contrast.corrupted == "short"
    assert (len(contrast.clean), contrast.clean[0], contrast.clean[-4:]) == (1000, "…", " end")
    write_circuit(CIRCUIT.model_copy(update={"prompts": (contrast,)}), tmp_path / "circuit.json")
    assert read_circuit(tmp_path / "circuit.json").prompts == (contrast,)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    """A text that is no JSON, a list and a missing file are refused with the path."""
    path = tmp_path / "circuit.json"
    for text in ("{", "[1, 2]"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no circuit"):
            read_circuit(path)
    with pytest.raises(OSError, match=r"none\.json"):
        read_circuit(tmp_path / "none.json")


def test_scores_are_ranked_beside_exact_effects():
    """Of five edges and more that were patched; of fewer, or where all are equal, nothing is said."""
    edge = CIRCUIT.edges[0]
    names = [
        "embed -> L0.H0.q",
        "embed -> L0.H1.q",
        "embed -> L0.H2.q",
        "embed -> L0.H3.q",
        "embed -> logits",
    ]

    def with_effects(effects):
        edges = [
            edge.model_copy(
                update={
                    "name": name,
                    "score": Figure(value=number, low=number, high=number),
                    "effect": None if effect is None else Figure(value=effect, low=effect, high=effect),
                }
            )
            for number, (name, effect) in enumerate(zip(names, effects, strict=True))
        ]
        return CIRCUIT.model_copy(update={"edges": tuple(edges)})

    ranked = with_effects([0.0, 1.0, 2.0, 4.0, 3.0])
    assert ranked.rank_correlation == pytest.approx(0.9)
    assert "Scores and exact effects of 5 edges: rank correlation 0.90" in ranked.summary()
    for effects in ([0.0, 1.0, 2.0, 4.0, None], [1.0] * 5):
        assert with_effects(effects).rank_correlation is None
        assert "rank correlation" not in with_effects(effects).summary()
