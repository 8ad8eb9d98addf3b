"""`lazarus introspect path-patch`: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main

COMMAND = ["introspect", "path-patch", "-m", "organism"]
PAIR = ["--source", "12 * 8 = ", "--target", "12 * 7 = "]


def run(capsys, *options):
    """The data of a run."""
    assert main([*COMMAND, *PAIR, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_text_ranks_every_sender(capsys):
    """Without a sender all heads and MLPs are tried, the largest effects come first, and the rest is counted."""
    assert main([*COMMAND, *PAIR, "--top", "4"]) == 0
    text = capsys.readouterr().out
    assert "PATH PATCHING to logits: organism" in text
    assert "MLPs between: recomputed" in text
    assert "... and 36 more with smaller effects" in text
    assert "One pair shows no more than that pair" in text
    assert text.count("_out.") == 4


def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Senders, receiver, MLPs, position, tokens and the file of the data."""
    file = tmp_path / "paths.json"
    senders = ["--sender", "head_out.0.3, mlp_out.1"]
    plain = run(capsys, *senders, "-o", str(file))
    assert json.loads(file.read_text()) == plain
    assert {one["site"] for one in plain["senders"]} == {"head_out.0.3", "mlp_out.1"}
    assert plain["receiver"] == "logits"
    effects = {one["site"]: one["effect"] for one in plain["senders"]}
    for options in (
        ["--mlps", "frozen"],
        ["--receiver", "mlp_out.5"],
        ["--position", "0"],
        ["--answer", "70", "--other", "64"],
    ):
        other = run(capsys, *senders, *options)
        assert {one["site"]: one["effect"] for one in other["senders"]} != effects
    assert run(capsys, *senders, "--receiver", "queries.5.-1")["receiver"] == "queries.5.3"


def test_pairs_give_an_interval(capsys, tmp_path):
    """With several pairs each effect has an interval over them."""
    path = tmp_path / "pairs.jsonl"
    pairs = [("12 * 8 = ", "12 * 7 = "), ("6 + 9 = ", "6 + 4 = ")]
    path.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in pairs))
    options = ["--pairs", str(path), "--sender", "mlp_out.7"]
    assert main([*COMMAND, *options, "--json"]) == 0
    one = json.loads(capsys.readouterr().out)["senders"][0]
    assert main([*COMMAND, *options]) == 0
    assert f"{one['other_source']:+.3f}" in capsys.readouterr().out
    assert abs(one["other_source"]) < abs(one["effect"])
    assert one["low"] < one["effect"] < one["high"]
    assert len(one["effects"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sender", "nothing.1"], "unknown site 'nothing'"),
        (["--receiver", "pattern.1"], "pattern.1 cannot receive"),
        (["--sender", "resid_post.1"], "resid_post.1 cannot send"),
        (["--sender", "mlp_out.6", "--receiver", "mlp_out.2"], "does not come before"),
        (["--sender", "mlp_out.9"], "layer 9"),
        (["--receiver", "embed"], "embed cannot receive"),
        (["--receiver", "queries.0.1"], "give some that come before queries.0.1"),
        (["--position", "40"], "position 40"),
        (["--mlps", "both"], "--mlps"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *PAIR, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
