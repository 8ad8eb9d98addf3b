"""`lazarus introspect classifier`: the published command lines, what they print and what they may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.cli.lazarus import main

FOUR = [
    "multiply:7 * 8 = |12 * 5 = |3 * 9 = |6 * 7 = ",
    "add:23 + 45 = |17 + 38 = |11 + 22 = |5 + 9 = ",
    "subtract:50 - 23 = |89 - 34 = |77 - 11 = |40 - 15 = ",
    "divide:48 / 6 = |81 / 9 = |36 / 4 = |24 / 3 = ",
]
TWO = ["multiply:7 * 8 = |12 * 5 = ", "add:23 + 45 = |17 + 38 = "]


def command(classes: list[str], *more: str, model: str = "organism") -> list[str]:
    """The command line for these classes."""
    given = [part for each in classes for part in ("--classes", each)]
    return ["introspect", "classifier", "-m", model, *given, *more]


def test_the_published_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four classes of four prompts: a line a layer, four tests named, and a file with the published keys."""
    path = tmp_path / "classifier.json"
    test = "11 * 12 = |6 * 9 = |13 + 14 = |25 + 17 = "
    assert main(command(FOUR, "--test", test, "--output", str(path))) == 0
    shown = capsys.readouterr().out
    data = json.loads(path.read_text())
    assert {"model", "num_layers", "classes", "layer_results", "best_layer", "best_accuracy"} <= set(data)
    assert data["classes"]["divide"] == ["48 / 6 = ", "81 / 9 = ", "36 / 4 = ", "24 / 3 = "]
    assert [each["layer"] for each in data["layer_results"]] == list(range(8))
    for each in data["layer_results"]:
        assert f"L{each['layer']:<5} {each['accuracy']:.3f}     {each['std']:.3f}" in shown
    assert shown.count("<- SELECTED") == 1
    assert [each["prompt"] for each in data["test_predictions"]] == test.split("|")
    assert "'11 * 12 = '           -> " + data["test_predictions"][0]["predicted"] in shown
    assert data["about"]["seed"] == 0
    assert "bag of tokens" in shown
    assert "Verdict: supported" not in shown


def test_two_prompts_a_class_say_how_little_they_tell(capsys: pytest.CaptureFixture[str]) -> None:
    """The published example of two prompts a class runs, prints its table, and finds nothing."""
    assert main(command(TWO)) == 0
    shown = capsys.readouterr().out
    assert "L7 " in shown
    assert "n = 4" in shown
    assert "all 4 of 4 right would still only mean an accuracy of at least 0.51" in shown
    assert "Verdict: inconclusive: 4 independent groups, 10 are needed" in shown


def test_layers_seed_and_groups_change_what_comes_out(capsys: pytest.CaptureFixture[str]) -> None:
    """--layers chooses the rows, --seed the folds, --groups what a split keeps whole; --json prints nothing else."""
    groups = "|".join(["a", "a", "b", "b"] * 2)
    assert main(command(FOUR[:2], "--layers", "1,-1", "--groups", groups, "--seed", "3", "--json")) == 0
    data = json.loads(capsys.readouterr().out)
    assert [each["layer"] for each in data["layer_results"]] == [1, 7]
    assert (data["measurement"]["groups"], data["groups_given"], data["about"]["seed"]) == (2, True, 3)


def test_a_file_gives_prompts_and_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A class of LABEL:@FILE has the file's prompts, spaces and all, and its categories for groups."""
    given = []
    for label, sign in (("add", "+"), ("sub", "-")):
        rows = [{"text": f"{a} {sign} 2 = ", "category": f"t{a % 2}"} for a in range(5, 9)]
        (tmp_path / f"{label}.json").write_text(json.dumps({"prompts": rows}))
        given.append(f"{label}:@{tmp_path / label}.json")
    assert main(command(given, "--layers", "2", "--json")) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["classes"]["sub"][0] == "5 - 2 = "
    assert data["measurement"]["groups"] == 2


@pytest.mark.slow
def test_an_untrained_model_shows_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """On a model that learned nothing, operators are in the words: no verdict but that."""
    classes = [
        "multiply:" + "|".join(f"{a} * {a + 3} = " for a in range(3, 9)),
        "add:" + "|".join(f"{a} + {a + 3} = " for a in range(13, 19)),
    ]
    assert main(command(classes, "--layers", "0,3", model="organism-untrained")) == 0
    shown = capsys.readouterr().out
    assert "Verdict: supported" not in shown
    assert "Not shown to be beyond an untrained model" in shown


BAD: dict[str, tuple[list[str], str]] = {
    "one class": (command(TWO[:1]), "1 class given"),
    "a label": (command([TWO[0], "\udcff:1|2"]), "not valid Unicode"),
    "no label": (command(["7 * 8"]), "has no label"),
    "label twice": (command([TWO[0], TWO[0]]), "label 'multiply' twice"),
    "one prompt": (
        command([TWO[0], "add:1 + 1 ="]),
        "class 'add' has 1 distinct prompt; each needs at least 2",
    ),
    "empty prompt": (command([TWO[0], "add:1||2"]), "prompt 1 is empty"),
    "a layer": (command(TWO, "--layers", "8"), "there is no layer 8"),
    "no file": (command([TWO[0], "add:@no/such.json"]), "no/such.json: No such file"),
    "groups": (command(TWO, "--groups", "a|b"), "2 groups given for 4 prompts"),
    "output": (command(TWO, "-o", f"{__file__}/x.json"), "test_classifier.py is a file"),
    "model": (command(TWO, model="nope"), "no model named 'nope'"),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_input_is_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong, and what would be right, in one line and exit code 2."""
    arguments, reason = BAD[case]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_categories_in_some_files_only_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Groups known of one class and not of the other make no split."""
    rows: list[Any] = [{"text": "1 + 1 =", "category": "a"}, {"text": "2 + 1 =", "category": "b"}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert main(command([f"add:@{tmp_path}/a.json", TWO[0]])) == 2
    assert "class 'multiply' has prompts without a category" in capsys.readouterr().err
