"""`lazarus introspect layer-edits`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "layer-edits", "-m", "organism", "--prompts", "7*8=|6*9=|The capital of France is"]


def test_the_text_has_edits_and_pushes(capsys):
    """A row for each pair of neighbours, and what was not compared."""
    assert main([*COMMAND, "--edit", "swap"]) == 0
    text = capsys.readouterr().out
    assert "BLOCKS TO SWAP: organism" in text
    assert "\nL0 and L1 " in text
    assert "\nL6 and L7 " in text
    assert "Mean kept " in text
    assert "Not compared with untrained models" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Layers, count, position, draws, models and seed are those of the data, which the file holds as well."""
    file = tmp_path / "out.json"
    options = [
        "--layers",
        "0,4",
        "--count",
        "2",
        "--at",
        "last",
        "--draws",
        "3",
        "--seed",
        "5",
        "--untrained",
        "3",
    ]
    assert main([*COMMAND, *options, "--json", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert [edit["blocks"] for edit in data["edits"]] == [[0, 1], [4, 5]]
    assert (data["edit"], data["at"], data["draws"], data["seed"], data["n"]) == ("delete", "last", 3, 5, 3)
    assert len(data["best_of_models"]["untrained"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--edit", "remove"], "--edit remove is unknown"),
        (["--at", "first"], "--at first is unknown"),
        (["--count", "8"], "count is 8 of 8 blocks"),
        (["--layers", "9"], "--layers 9: there is no layer 9"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
