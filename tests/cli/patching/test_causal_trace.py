"""`lazarus introspect causal-trace`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "causal-trace", "-m", "organism"]
ONE = ["--prompt", "12*8=", "--part", "12", "--layers", "0,6"]


def test_the_text_has_the_total_effect_and_damage(capsys):
    """Clean and corrupted, the effects by layer and spot, and the damage to unrelated prompts."""
    assert main([*COMMAND, *ONE, "--answer", "96", "--draws", "2"]) == 0
    text = capsys.readouterr().out
    assert "Metric: probability of '96', at the last token" in text
    assert "Corruption: noise, standard deviation" in text
    assert "Total effect: " in text
    assert "Strongest: L" in text
    assert "Left out: last of the part, for every part is one token" in text
    assert "Damage: next-token probability moved on unrelated prompts" in text


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Prompts, site, corruption, draws, window and seed are those of the data, which the file holds as well."""
    rows = [{"prompt": f"{a}*{b}=", "part": str(a), "group": str(a)} for a, b in ((7, 8), (6, 9), (12, 4))]
    (tmp_path / "prompts.json").write_text(json.dumps(rows))
    file = tmp_path / "out.json"
    options = ["--prompts", str(tmp_path / "prompts.json"), "--window", "3", "--layers", "1", "--draws", "2"]
    more = ["--corruption", "resample", "--site", "mlp_out", "--seed", "3"]
    assert main([*COMMAND, *options, *more, "--json", "-o", str(file)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads(file.read_text()) == data
    assert [cell["layers"] for cell in data["cells"]] == [[0, 1, 2]] * 3
    assert (data["kind"], data["corruption"], data["draws"], data["noise"]) == ("mlp_out", "resample", 2, 0)
    assert (data["seed"], data["n"], data["units"]) == (3, 3, 3)
    assert main([*COMMAND, *ONE, "--noise", "0.5", "--json"]) == 0
    weak = json.loads(capsys.readouterr().out)
    assert main([*COMMAND, *ONE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["noise"] == pytest.approx(6 * weak["noise"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([*ONE, "--site", "resid_mid"], "--site resid_mid is unknown"),
        ([*ONE, "--corruption", "swap"], "--corruption swap is unknown"),
        ([*ONE, "--corruption", "resample"], "no other prompt has a part of 1 tokens"),
        (["--prompt", "7*8=", "--part", "="], "it must end before the last"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
