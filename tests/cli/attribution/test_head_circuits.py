"""`lazarus introspect head-circuits`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "head-circuits", "-m", "organism-untrained"]
SHORT = ["--length", "6", "--rows", "6", "--untrained", "3"]


def test_every_option_changes_what_comes_out(make_llama, save_checkpoint, capsys, tmp_path):
    """Length, rows, seed, untrained models and threshold are those of the data, which the file holds as well."""
    file = tmp_path / "circuits.json"
    options = ["--length", "7", "--rows", "7", "--seed", "1", "--untrained", "4", "--threshold", "0.5"]
    model = save_checkpoint(tmp_path / "small", make_llama(num_hidden_layers=2))
    assert main([*COMMAND[:-1], str(model), *options, "--json", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert (data["length"], data["rows"], data["seed"], data["threshold"]) == (7, 7, 1, 0.5)
    assert len(data["copying"]["untrained"]) == 4
    assert len(data["induction"]["scores"]) == len(data["patterns"]["induction"]) == 2
    assert data["copying"]["named"] == []
    assert data["copying"]["claim"] == "head-has-a-circuit"
    assert data["about"]["model"] == "small"


@pytest.mark.slow
def test_the_text_names_no_head_of_an_untrained_model(capsys):
    """The null: scores stand beside their controls, and what was not measured is said with the reason."""
    assert main([*COMMAND, *SHORT, "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert text.count("no head goes beyond the controls") == 5
    assert text.count("rank correlation with attention in the model's own run") == 3
    assert "6 rows of 6 random tokens (seed 0), without context" in text
    assert "Keys of induction are composed with L" in text
    assert "Sequences: letters (26), numerals (20), number words (12)" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "300"], "--length 300: 2 * 300 + 1 tokens do not fit into 512"),
        (["--rows", "5"], "--rows"),
        (["-o", f"{__file__}/x.json"], "is a file"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
