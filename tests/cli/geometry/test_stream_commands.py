"""`lazarus introspect sinks` and `residual-stream`: what they print and save, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

SINKS = ["introspect", "sinks", "-m", "organism"]
STREAM = ["introspect", "residual-stream", "-m", "organism"]


def run(capsys, *words):
    """The data of a run."""
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_sinks_have_conditions_controls_and_activations(capsys):
    """The text has every condition, the control models, and where the largest activation is."""
    assert main([*SINKS, "--length", "12", "--rows", "2"]) == 0
    text = capsys.readouterr().out
    for line in (
        "as given",
        "without the beginning-of-sequence token",
        "another first token",
        "first token moved",
    ):
        assert f"\n  {line}" in text
    assert "a head that attends evenly gives it" in text
    assert "untrained models: " in text
    assert "Largest activation: " in text


def test_options_of_sinks_are_those_of_the_data(capsys, tmp_path):
    """Length, rows, untrained models and seed; the file holds the same."""
    file = tmp_path / "sinks.json"
    data = run(
        capsys, *SINKS, "--length", "9", "--rows", "3", "--untrained", "4", "--seed", "2", "-o", str(file)
    )
    assert json.loads(file.read_text()) == data
    assert (data["tokens"], data["rows"], data["seed"], len(data["models"]["untrained"])) == (9, 3, 2, 4)
    assert len(data["largest"]) == 8


def test_options_of_residual_stream_are_those_of_the_data(capsys, tmp_path):
    """Length, rows, dropped tokens, untrained models and seed; the file holds the same, and the text a row a layer."""
    file = tmp_path / "stream.json"
    options = ["--length", "9", "--rows", "5", "--drop", "2", "--untrained", "4", "--seed", "2"]
    data = run(capsys, *STREAM, *options, "-o", str(file))
    assert json.loads(file.read_text()) == data
    assert (data["tokens"], data["rows"], data["dropped"], data["seed"]) == (10, 5, 2, 2)
    assert len(data["models"]["untrained"]) == 4
    assert main([*STREAM, *options]) == 0
    text = capsys.readouterr().out
    assert all(f"\nL{layer} " in text for layer in range(8))
    assert "Growth a layer, median norm: " in text


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (SINKS, ["--length", "7"], "--length"),
        (STREAM, ["--rows", "3"], "--rows"),
        (STREAM, ["--length", "4", "--drop", "4"], "drop is 4 of 4 tokens"),
    ],
)
def test_wrong_input_is_one_line(capsys, command, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
