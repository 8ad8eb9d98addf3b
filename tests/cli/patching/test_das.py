"""`lazarus introspect das`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "das", "-m", "organism", "--layers", "5"]
FAST = ["--steps", "2", "--untrained", "0"]


@pytest.fixture
def pairs(tmp_path):
    """A file of ten pairs with the answers that follow them."""
    drawn = [(a, b) for a in (6, 7, 8, 9) for b in (3, 4, 5)][:10]
    rows = [
        {
            "source": f"{a}*{b}=",
            "target": f"{a}+{b}=",
            "answer": str(a * b),
            "other": str(a + b),
            "group": f"{a},{b}",
        }
        for a, b in drawn
    ]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(rows))
    return str(path)


def test_the_text_has_the_accuracy_controls_and_damage(capsys, pairs):
    """The share of wanted answers by layer, its controls, and the damage to unrelated prompts."""
    assert main([*COMMAND, "--pairs", pairs, "--steps", "1", "--untrained", "3"]) == 0
    text = capsys.readouterr().out
    assert "10 pairs, 5 of them held out" in text
    for column in ("trained", "held out", "relabelled", "random", "whole", "untrained"):
        assert column in text
    assert "Subspace: 1 of 128 dimensions, at position -1" in text
    assert "Aligned: no layer\nVerdicts:\n  L5  inconclusive: 5 independent groups, 10 are needed" in text
    assert "One more untrained model may reach" in text
    assert "Damage at L5: next-token probability moved on unrelated prompts" in text


def test_every_option_changes_what_comes_out(capsys, pairs, tmp_path):
    """Size, position, steps and seed are those of the data, which the file holds as well."""
    file = tmp_path / "out.json"
    options = ["--pairs", pairs, *FAST, "--json"]
    assert main([*COMMAND, *options, "--size", "3", "--position", "2", "--seed", "4", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert (data["pairs"], data["held_out_pairs"], data["size"], data["position"], data["seed"]) == (
        10,
        5,
        3,
        2,
        4,
    )
    assert [layer["layer"] for layer in data["layers"]] == [5]
    assert data["untrained_reach"] is None
    assert (data["aligned"], data["verdicts"]) == ([], {})  # without untrained models
    assert main([*COMMAND, "--pairs", pairs, *FAST, "--size", "128", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)["layers"][0]
    assert whole["held_out"] == whole["whole"]  # all dimensions are the whole state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "200"], "size is 200; give at least 1 and at most 128"),
        (["--untrained", "1"], "untrained is 1; give at least 3"),
        (["--position", "9"], "position 9"),
        (["--layers", "9"], "9"),
    ],
)
def test_wrong_input_is_one_line(capsys, pairs, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, "--pairs", pairs, *FAST, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
