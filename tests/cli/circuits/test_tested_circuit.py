"""`lazarus introspect test-circuit`: what it prints and saves, of circuits of its own and from elsewhere."""

from __future__ import annotations

import json
from functools import partial

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.introspection.circuits import capped_runs

PROMPTS = ["--clean", "7*8=|6*9=|8*9=|7*6=", "--corrupted", "7+8=|6+9=|8+9=|7+6="]
COMMAND = ["introspect", "test-circuit", "-m", "organism"]


@pytest.fixture(autouse=True)
def few_paths(monkeypatch):
    """A tenth of the random paths that edges are held against: their results are tested in the library."""
    monkeypatch.setattr(capped_runs, "minimality", partial(capped_runs.minimality, paths=30))


@pytest.fixture(scope="module")
def circuit(tmp_path_factory):
    path = tmp_path_factory.mktemp("circuit") / "circuit.json"
    find = ["introspect", "find-circuit", "-m", "organism", "--steps", "1", "--edges", "60", "--exact", "0"]
    assert main([*find, *PROMPTS, "-o", str(path)]) == 0
    return path


def test_a_line_for_each_test_and_a_verdict(capsys, circuit):
    """Faithfulness, random circuits, completeness, minimality, equivalence, independence; few pairs give no verdict."""
    assert main([*COMMAND, str(circuit), *PROMPTS]) == 0
    text = capsys.readouterr().out
    for line in (
        "Faithfulness",
        "Random circuits",
        "The model without it",
        "Edges needed",
        "Outdoes the model",
    ):
        assert f"\n{line}" in text
    assert "too few pairs to tell" in text
    assert "INCONCLUSIVE: independent units: 4 pair, 10 are needed" in text


def test_what_is_saved_has_the_measurement_and_the_verdict(capsys, circuit, tmp_path):
    """With the claim that it was judged by, and what edges led nowhere."""
    edges = tmp_path / "edges.txt"
    edges.write_text("input->a0.h0<v>  # as EAP-IG writes it\nL0.H0 -> L0.MLP\nm0->logits\nL3.H0 -> L5.MLP\n")
    path = tmp_path / "test.json"
    assert main([*COMMAND, str(edges), *PROMPTS, "--json", "-o", str(path)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(path.read_text()) == data
    assert data["verdict"]["claim"] == "listed-circuit-is-faithful"
    assert (data["measurement"]["details"]["edges"], data["measurement"]["details"]["listed"]) == (3, 4)


def test_bad_files_and_prompts_are_named(capsys, circuit, tmp_path):
    """An edge that is not there, no path, and no prompts."""
    for text, message in (
        ("L99.MLP -> logits\n", "L99.MLP"),
        ("L3.MLP -> L5.MLP\n", "none of the 1 edges is on a path from the embedding to the logits"),
    ):
        path = tmp_path / "edges.txt"
        path.write_text(text)
        assert main([*COMMAND, str(path), *PROMPTS]) != 0
        assert message in capsys.readouterr().err
    assert main([*COMMAND, str(circuit)]) != 0
    assert "give --clean and --corrupted, or --pairs FILE" in capsys.readouterr().err
