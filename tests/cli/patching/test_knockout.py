"""`lazarus introspect knockout`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "knockout", "-m", "organism"]
ONE = ["--prompt", "12*8=", "--part", "12", "--layers", "0-1"]


def test_the_text_has_windows_controls_and_damage(capsys):
    """A row for each window, what another part does, and the damage to unrelated prompts."""
    assert main([*COMMAND, *ONE, "--answer", "96", "--other", "20"]) == 0
    text = capsys.readouterr().out
    assert "Part: '12' (tokens 1 to 1)" in text
    assert "Metric: logit_diff of '96' against '20'" in text
    assert "\nL0 " in text
    assert "\nL1 " in text
    assert "Damage: next-token probability moved on unrelated prompts" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Prompts, window, cut, readers, controls and seed are those of the data, which the file holds as well."""
    rows = [{"prompt": f"{a}*{b}=", "part": str(a), "group": str(a)} for a, b in ((7, 8), (6, 9), (12, 4))]
    (tmp_path / "prompts.json").write_text(json.dumps(rows))
    file = tmp_path / "out.json"
    options = ["--prompts", str(tmp_path / "prompts.json"), "--window", "3", "--layers", "1,4"]
    more = ["--cut", "pattern", "--controls", "2", "--seed", "3", "--reader", "="]
    assert main([*COMMAND, *options, *more, "--json", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert [window["layers"] for window in data["windows"]] == [[0, 1, 2], [3, 4, 5]]
    assert (data["cut"], data["metric"], data["n"], data["units"]) == ("pattern", "probability", 3, 3)
    assert (data["seed"], data["parts"]) == (3, ["7", "6", "12"])
    assert data["damage"]["n"] > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "7"], "give --prompt and --part, or --prompts FILE"),
        ([*ONE, "--prompts", "x.json"], "--prompt is given together with --prompts"),
        ([*ONE, "--cut", "score"], "--cut score is unknown"),
        (["--prompt", "7*7=", "--part", "7"], "'7' is 2 times in the prompt"),
        (["--prompt", "7*8=", "--part", " "], "--part is empty"),
        ([*ONE, "-o", f"{__file__}/x.json"], "is a file"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
