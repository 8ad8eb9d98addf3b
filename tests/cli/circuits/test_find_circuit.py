"""`lazarus introspect find-circuit`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.introspection import read_circuit

COMMAND = ["introspect", "find-circuit", "-m", "organism"]
PROMPTS = ["--clean", "7*8=|6*9=|8*9=|7*6=", "--corrupted", "7+8=|6+9=|8+9=|7+6="]
QUICK = ["--steps", "1", "--edges", "60", "--exact", "1"]


def run(capsys, *options):
    """The data of a run."""
    assert main([*COMMAND, *PROMPTS, *QUICK, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_text_shows_measures_curve_and_edges(capsys):
    """What was found on how many pairs, the curve up to all edges, and the best edges, the others counted."""
    assert main([*COMMAND, *PROMPTS, *QUICK, "--top", "3"]) == 0
    text = capsys.readouterr().out
    assert "CIRCUIT: organism" in text
    assert "of 1405 edges, found on 2 pairs, measured on 2 others; left out edges: resample" in text
    assert "CPR " in text
    assert text.count(" -> ") == 3
    assert "more with smaller scores" in text


def test_what_is_saved_is_a_circuit(capsys, tmp_path):
    """The file holds the data that is printed, and is read as a circuit."""
    path = tmp_path / "circuit.json"
    data = run(capsys, "-o", str(path))
    assert json.loads(path.read_text()) == data
    circuit = read_circuit(path)
    assert circuit.as_data() == {name: value for name, value in data.items() if name != "about"}
    assert data["about"]["model"] == "organism"


def test_every_option_changes_what_comes_out(capsys):
    """Steps, ablation, edges, exact runs, pairs, pruning and the seed."""
    plain = run(capsys)
    assert run(capsys, "--steps", "2")["edges"] != plain["edges"]
    assert run(capsys, "--ablation", "mean")["empty"] != plain["empty"]
    assert len(run(capsys, "--edges", "30")["edges"]) < len(plain["edges"])
    assert sum(edge["effect"] is not None for edge in run(capsys, "--exact", "2")["edges"]) == 2
    same = run(capsys, "--same-pairs")
    assert (same["held_out"], same["measured_on"]) == (False, 4)
    assert len(run(capsys, "--prune")["edges"]) < len(plain["edges"])
    assert run(capsys, "--seed", "1")["random"] != plain["random"]


def test_pairs_come_from_a_file(capsys, tmp_path):
    """A file of pairs, the corrupted prompt first, is the same as the options."""
    path = tmp_path / "pairs.txt"
    path.write_text("7+8= => 7*8=\n6+9= => 6*9=\n8+9= => 8*9=\n7+6= => 7*6=\n")
    assert main([*COMMAND, "--pairs", str(path), *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == run(capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --clean and --corrupted, or --pairs FILE"),
        (["--clean", "a|b", "--corrupted", "a"], "--clean has 2 prompts and --corrupted 1"),
        (["--pairs", "x", "--clean", "a"], "--pairs brings its own prompts"),
        ([*PROMPTS, "--faithful", "2"], "faithful is 2"),
        (["--clean", "7*8=", "--corrupted", "7+8="], "pairs in 1 groups cannot be halved"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(options, said, capsys):
    """Missing or unequal prompts and a share above 1 are refused before the model runs."""
    assert main([*COMMAND, *options]) == 2
    assert said in capsys.readouterr().err


def test_other_tasks_come_from_files(capsys, tmp_path):
    """Each file of pairs is a task by its name, on which the circuit is measured too."""
    path = tmp_path / "sums.txt"
    path.write_text("7*8= => 7+8=\n6*9= => 6+9=\n8*9= => 8+9=\n")
    (task,) = run(capsys, "--other", str(path))["others"]
    assert (task["name"], task["pairs"]) == ("sums", 3)
    assert task["clean"] > 0 > task["empty"]
