"""`lazarus introspect heads`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = [
    "introspect",
    "heads",
    "-m",
    "organism-untrained",
    "--length",
    "6",
    "--rows",
    "5",
    "--untrained",
    "3",
]


def run(capsys, *options):
    """The data of a run."""
    assert main([*COMMAND, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_text_names_no_head_of_an_untrained_model(capsys):
    """The null: scores stand beside their controls, and each kind says that nothing goes beyond them."""
    assert main([*COMMAND, "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert text.count("no head goes beyond the controls") == 3
    assert text.count("best gain of untrained models:") == 3
    assert text.count("\n  L") == 6
    assert "5 rows of 6 random tokens that come twice (seed 0)" in text
    assert "gain over another order" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Length, rows, seed, untrained models and threshold are those of the data, which the file holds as well."""
    file = tmp_path / "heads.json"
    options = ["--length", "7", "--rows", "6", "--seed", "1", "--untrained", "4", "--threshold", "0.5"]
    found = run(capsys, *options, "-o", str(file))
    assert json.loads(file.read_text()) == found
    assert (found["length"], found["rows"], found["seed"], found["threshold"]) == (7, 6, 1, 0.5)
    assert len(found["duplicate"]["untrained"]) == 4
    assert len(found["induction"]["scores"]) == 8
    assert found["induction"]["named"] == []
    assert found["about"]["model"] == "organism-untrained"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", "300"], "--length 300: 2 * 300 + 1 tokens do not fit into 512"),
        (["--rows", "4"], "--rows"),
        (["--untrained", "2"], "--untrained"),
        (["-o", f"{__file__}/x.json"], "is a file"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
