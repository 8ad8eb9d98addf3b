"""`lazarus introspect self-repair`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "self-repair", "-m", "organism", "--prompts", "7*8=|6*9=|12*4="]
ANSWERS = ["--answers", "56|54|48", "--others", "15"]


def test_the_text_has_effects_and_damage(capsys):
    """A row for each head, and what the ablation does to unrelated prompts."""
    assert main([*COMMAND, *ANSWERS, "--top", "2"]) == 0
    text = capsys.readouterr().out
    assert "3 prompts; mean ablation at the last token" in text
    assert text.count("\nL") >= 2
    assert "Damage: next-token probability moved on unrelated prompts" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Heads, ablation, words and seed are those of the data, which the file holds as well."""
    file = tmp_path / "out.json"
    options = ["--heads", "1.2,7.0", "--ablation", "resample", "--seed", "4"]
    assert main([*COMMAND, *ANSWERS, *options, "--json", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert [(head["layer"], head["head"]) for head in data["heads"]] == [(1, 2), (7, 0)]
    assert (data["ablation"], data["seed"], data["others"]) == ("resample", 4, ["15"] * 3)
    assert main([*COMMAND, "--answers", "56", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert (alone["others"], len(alone["heads"])) == (None, 10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--answers", "56|54"], "--answers has 2 words for 3 prompts"),
        ([*ANSWERS, "--heads", "x.1"], "--heads x.1: 'x.1' is no head"),
        ([*ANSWERS, "--heads", "9.0"], "head 9.0 is not there"),
        ([*ANSWERS, "--ablation", "median"], "--ablation median is unknown"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
