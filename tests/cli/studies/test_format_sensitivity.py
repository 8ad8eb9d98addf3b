"""`lazarus introspect format-sensitivity`: what a user sees of a space at the end of a prompt."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "format-sensitivity", "-m", "organism"]
SEED = ["-p", "156 + 287 =|50 + 25 ="]


def data(capsys, *arguments):
    """What the command prints with --json."""
    assert main([*COMMAND, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_published_command_line_runs(capsys):
    """Answers, tokens, divergences and cosines are shown, and a summary that says what two prompts cannot show."""
    assert main([*COMMAND, *SEED]) == 0
    shown = capsys.readouterr().out
    for text in (
        "Prompt: '50 + 25 ='",
        "ends in ' =' ' ' with the space",
        "next-token KL",
        "Separation",
        "L4 ",
    ):
        assert text in shown
    assert "Right answers: 1/2 with the space, 1/2 without" in shown
    assert "That the model is sensitive is not shown: " in shown


def test_the_summary_alone_is_the_summary(capsys):
    """With --summary-only neither prompts nor layers are shown or saved."""
    assert main([*COMMAND, *SEED, "-s"]) == 0
    shown = capsys.readouterr().out
    assert "Answers that the space changes: 0/2" in shown
    assert "Prompt:" not in shown
    assert "Separation" not in shown
    found = data(capsys, *SEED, "--summary-only")
    assert found["summary"]["changed"] == 0
    assert "results" not in found


def test_every_option_acts(capsys, tmp_path):
    """Layers and limits are those asked for, and the file is what is printed."""
    found = data(capsys, *SEED, "-l", "0,-1", "-o", str(tmp_path / "out.json"))
    assert found["layers"] == [0, 7]
    assert [one["without"]["answer"] for one in found["results"]] == [7, 75]
    assert found["results"][1]["with_space"]["prompt"] == "50 + 25 = "
    assert found["verdict"]["sensitive"] is False
    assert json.loads((tmp_path / "out.json").read_text()) == found
    short = data(capsys, "-p", "47 * 47 =", "-n", "1", "-l", "0")["results"][0]
    assert short["without"]["output"] == " "
    assert short["with_space"]["output"] == "220"


def test_an_untrained_model_is_not_called_sensitive(capsys):
    """Words without meaning change with any space; that is no finding."""
    prompts = "|".join(f"{a} + {a + 2} =" for a in range(3, 11))
    command = [
        "introspect",
        "format-sensitivity",
        "-m",
        "organism-untrained",
        "-p",
        prompts,
        "-l",
        "0",
        "-n",
        "4",
    ]
    assert main([*command, "-s"]) == 0
    shown = capsys.readouterr().out
    assert "SENSITIVE" not in shown
    assert "is not shown" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "a| "], "nothing but spaces"),
        (["-p", "a", "--layers", "3-9"], "there is no layer 9"),
        (["-p", "a", "-n", "0"], "--max-tokens"),
        (["-p", "a", "-o", "/dev/null/out.json"], "/dev/null"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    """What is wrong is named in one line, and the exit code is 2."""
    assert main([*COMMAND, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
