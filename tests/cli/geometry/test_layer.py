"""`lazarus introspect layer`: what a user sees of how alike prompts are."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "layer", "-m", "organism"]
SEED = ["-p", "100 - 37 = |100 - 37 =", "-l", "working,broken"]
PROMPTS = "|".join([*(f"{a} + 3 = " for a in range(2, 6)), *(f"{a} * 3 = " for a in range(2, 6))])
LABELS = ["-l", "plus,plus,plus,plus,times,times,times,times"]


def data(capsys, *arguments):
    """What the command prints with --json."""
    assert main([*COMMAND, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_command_line_runs(capsys):
    """Prompts that differ in a space at the end are two; one a label shows nothing, and that is said."""
    assert main([*COMMAND, *SEED, "--layers", "2,4,6"]) == 0
    shown = capsys.readouterr().out
    assert "working  '100 - 37 = '\n  broken   '100 - 37 ='" in shown
    assert shown.count("--- Layer ") == 3
    assert "Within working: -" in shown
    assert "is not shown: n = 1, 1 prompts per label cannot show it" in shown
    assert "DOES" not in shown


def test_the_data_has_the_published_keys(capsys, tmp_path):
    """Matrices and clusters are by layer; what a single prompt cannot tell is null; the file is what is printed."""
    found = data(capsys, *SEED, "--layers", "0,-1", "-o", str(tmp_path / "layer.json"))
    assert list(found)[:5] == ["prompts", "labels", "layers", "similarity_matrices", "clusters"]
    assert (found["layers"], found["labels"]) == ([0, 7], ["working", "broken"])
    matrix = found["similarity_matrices"]["0"]
    assert matrix[0][0] == matrix[1][1] == 1
    assert found["clusters"]["0"]["within"] == {"working": None, "broken": None}
    assert found["clusters"]["0"]["between"] == {"working_broken": pytest.approx(matrix[0][1])}
    assert found["clusters"]["0"]["separation"] is None
    assert json.loads((tmp_path / "layer.json").read_text()) == found


def test_every_option_acts(capsys):
    """Layers default to six, labels may be left out, untrained models and seeds change the comparison."""
    plain = data(capsys, "-p", "a|b")
    assert (plain["layers"], plain["clusters"]) == ([0, 1, 2, 4, 6, 7], {})
    apart = ["-p", PROMPTS, *LABELS, "--layers", "1"]
    assert data(capsys, *apart)["untrained"] == 5
    seeds = [data(capsys, *apart, "--untrained", "0", "--seed", seed) for seed in "12"]
    assert seeds[0]["missing"] == "there are no untrained models to compare with"
    assert seeds[0]["clusters"]["1"]["p"] != seeds[1]["clusters"]["1"]["p"]


def test_an_untrained_model_distinguishes_nothing(capsys):
    """Words that differ lie apart in any model; on an untrained one that is no finding."""
    assert (
        main(["introspect", "layer", "-m", "organism-untrained", "-p", PROMPTS, *LABELS, "--layers", "0-3"])
        == 0
    )
    shown = capsys.readouterr().out
    assert "p = " in shown
    assert "DOES" not in shown
    assert "No layer is shown to distinguish" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "a|b|c", "-l", "x,y"], "2 labels for 3 prompts"),
        (["-p", "a|b", "-l", "x,"], "label 1 is empty"),
        (["-p", "a"], "one prompt, which nothing can be compared with"),
        (["-p", "a|b", "--layers", "8"], "there is no layer 8"),
        (["-p", "a|b", "--untrained", "2"], "--untrained 2"),
        (["-p", "a|b", "-o", "/dev/null/out.json"], "/dev/null"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    """What is wrong is named in one line, and the exit code is 2."""
    assert main([*COMMAND, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
