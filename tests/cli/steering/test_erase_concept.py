"""`lazarus introspect erase-concept`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

ADJECTIVES = {
    "positive": ("great", "good", "excellent", "wonderful", "lovely", "brilliant", "charming", "superb"),
    "negative": ("bad", "terrible", "awful", "poor", "dull", "boring", "dreadful", "horrible"),
}
CLASSES = [
    part
    for label, words in ADJECTIVES.items()
    for part in ("-c", f"{label}:" + "|".join(f"Review: the film was {word}. Sentiment:" for word in words))
]
COMMAND = ["introspect", "erase-concept", "-m", "organism", *CLASSES, "--random", "2"]


def test_the_text_has_probe_choice_and_damage(capsys):
    """A row for each layer, and what the erasure does to unrelated prompts."""
    assert main([*COMMAND, "--layers", "3,7"]) == 0
    text = capsys.readouterr().out
    assert "positive against negative, rank 1; tested on 8 prompts" in text
    assert [line.split()[0] for line in text.split("\n") if line[:2] in ("L3", "L7")] == ["L3", "L7"]
    assert "Damage: next-token probability moved on unrelated prompts" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Answers, groups, layers, shrinkage and seed are those of the data, which the file holds as well."""
    file = tmp_path / "out.json"
    groups = "|".join(str(number // 2) for number in range(16))
    options = ["--answers", "good|bad", "--groups", groups, "--layers", "5", "--seed", "2", "--json"]
    assert main([*COMMAND, *options, "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert (data["answers"], data["seed"], data["units"]) == (["good", "bad"], 2, 4)
    assert [layer["layer"] for layer in data["layers"]] == [5]
    assert len(data["layers"][0]["right_random"]) == 2
    assert main([*COMMAND, *options, "--shrinkage", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"] != data["layers"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--answers", "good"], "--answers 'good' are no two different words"),
        (["-c", "third:a|b|c|d"], "--classes has 3 classes; give two"),
        (["--layers", "8"], "--layers 8: there is no layer 8"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
