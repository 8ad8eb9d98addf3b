"""`lazarus introspect rank-one-edit`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "rank-one-edit", "-m", "organism", "--layers", "0"]
ONE = ["--prompt", "The capital of France is", "--part", "France"]
FAST = ["--untrained", "0", "--steps", "2"]


def test_the_text_has_the_preference_controls_and_damage(capsys):
    """The new answer before and with the edit, its controls, other subjects, damage, and what an edit does not show."""
    options = ["--new", "Rome", "--wording", "In {}, the capital is", "--neighbour", "Italy", "--steps", "1"]
    assert main([*COMMAND, *ONE, *options, "--untrained", "3"]) == 0
    text = capsys.readouterr().out
    assert "1 facts, 1 subjects, each edited alone" in text
    assert "Preference for the new answer over the old, after other wordings: " in text
    for column in ("prompt", "reworded", "random key", "added untrained", "others kept", "damage"):
        assert column in text
    assert "one more untrained model may reach" in text
    assert "No p with 1 subjects; give at least 5" in text
    assert "Works at: not judged, there is one subject; give facts about several" in text
    assert "shows where a fact can be written, not where it was stored" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Prompts, wordings, neighbours, steps and seed are those of the data, which the file holds as well."""
    rows = [
        {"prompt": f"The capital of {country} is", "part": country, "answer": city, "other": new}
        for country, city, new in (("France", "Paris", "Rome"), ("Italy", "Rome", "Paris"))
    ]
    (tmp_path / "facts.json").write_text(json.dumps(rows))
    file, run = tmp_path / "out.json", [*COMMAND, "--prompts", str(tmp_path / "facts.json"), *FAST, "--json"]
    assert main([*run, "--wording", "In {}, the capital is", "--seed", "3", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert (data["n"], data["units"], data["seed"], data["reworded"]) == (2, 2, 3, True)
    assert (data["working"], data["verdicts"]) == ([], {})  # without untrained models
    assert (data["new"], data["wordings"]) == (["Rome", "Paris"], ["In {}, the capital is"])
    (layer,) = data["layers"]
    assert (layer["layer"], len(layer["edited"]), len(layer["kept"]), data["untrained_reach"]) == (
        0,
        2,
        2,
        None,
    )
    assert main([*run, "--wording", "In {}, the capital is", "--steps", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["edited"] != layer["edited"]
    assert main(run) == 0
    assert json.loads(capsys.readouterr().out)["reworded"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ONE, "has no new answer; give --new"),
        ([*ONE, "--new", "Rome", "--untrained", "2"], "untrained is 2; give at least 3"),
        ([*ONE, "--new", "Rome", "--wording", "In France"], "has no {}; write {} where the subject stands"),
        (["--new", "Rome"], "give --prompt and --part, or --prompts FILE"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
