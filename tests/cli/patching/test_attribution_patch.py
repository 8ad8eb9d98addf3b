"""`lazarus introspect attribution-patch` and its pairs: what it prints and saves, and what each option changes."""

from __future__ import annotations

import json

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.cli.patching.pairs import pairs_of
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair

COMMAND = ["introspect", "attribution-patch", "-m", "organism"]
PAIR = ["--source", "12 * 8 = ", "--target", "12 * 7 = "]


def run(capsys, *options):
    """The data of a run."""
    assert main([*COMMAND, "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_text_puts_the_exact_patch_beside_the_estimate(capsys):
    """The prompts, the metric, the best cells with both numbers, the drawn cells and the correlation."""
    assert main([*COMMAND, *PAIR, "--layers", "0,5", "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:6] == [
        "Source: '12 * 8 = '",
        "Target: '12 * 7 = '",
        "Metric: logit of '96' minus logit of '84', at the last position",
    ]
    assert lines[8].split() == ["Site", "Position", "Estimate", "Share", "Exact"]
    assert all(line.startswith("resid_post.") for line in lines[9:12])
    assert any(line.startswith("Mean size of the exact effect of as many other cells") for line in lines)
    assert any("over the cells patched" in line for line in lines)


@pytest.mark.slow
def test_every_option_changes_what_comes_out(capsys, tmp_path):
    """Site, layers, tokens, number of cells, seed, the whole grid, and the file of the data."""
    file = tmp_path / "cells.json"
    plain = run(capsys, *PAIR, "--layers", "0,5", "--top", "2", "-o", str(file))
    assert json.loads(file.read_text()) == plain
    assert plain["sites"] == ["resid_post.0", "resid_post.5"]
    assert len(plain["cells"]) == 2
    options = ["--layers", "0", "--site", "head_out", "--top", "1"]
    options += ["--answer", "70", "--other", "64"]
    heads = run(capsys, *PAIR, *options, "--check")
    assert heads["sites"] == [f"head_out.0.{head}" for head in range(4)]
    assert heads["checked"]
    assert len(heads["exact"]) == 4
    assert heads["source"] != plain["source"]
    drawn = [run(capsys, *PAIR, *options, "--top", "4", "--seed", seed)["other_cells"] for seed in "0123"]
    assert len(set(drawn)) > 1
    assert main([*COMMAND, *PAIR, *options, "--check", "--seed", "3"]) == 2
    assert "--seed has no effect with --check" in capsys.readouterr().err


def test_pairs_come_from_files(capsys, tmp_path):
    """A file of pairs and two files side by side are the same pairs, with an interval over them."""
    pairs = [("12 * 8 = ", "12 * 7 = "), ("6 + 9 = ", "6 + 4 = ")]
    (tmp_path / "pairs.json").write_text(json.dumps([{"source": s, "target": t} for s, t in pairs]))
    for name, column in (("s", 0), ("t", 1)):
        (tmp_path / name).write_text("\n".join(pair[column] for pair in pairs))
    file, source, target = tmp_path / "pairs.json", f"@{tmp_path / 's'}", f"@{tmp_path / 't'}"
    assert pairs_of(None, None, file, None, None) == pairs_of(source, target, None, None, None)
    assert pairs_of(source, target, None, "1", "2")[1] == PromptPair(*pairs[1], "1", "2")
    with pytest.raises(ValueError, match="--source has 2 prompts and --target 1"):
        pairs_of(source, "6 + 4 = ", None, None, None)
    one = run(capsys, "--pairs", str(file), "--layers", "0", "--site", "mlp_out", "--top", "1")
    assert one["n"] == 2
    assert one["cells"][0]["low"] < one["cells"][0]["exact"] < one["cells"][0]["high"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "1 + 1"], "give --source and --target, or --pairs FILE"),
        ([*PAIR, "--pairs", "x.json"], "leave --source and --target out"),
        (["--pairs", "x.json", "--answer", "1"], "leave --answer and --other out"),
        (["--pairs", "/no/such/file"], "No such file"),
        ([*PAIR, "--site", "head"], "--site head is unknown; did you mean head_out? give one of resid_post"),
        ([*PAIR, "--layers", "9"], "there is no layer 9"),
        (["--source", "1 + 1 =", "--target", "1"], "patch between prompts of equal length"),
        (["--source", "1 + 1 =", "--target", "1 + 1 ="], "both lead to"),
    ],
)
def test_wrong_input_is_one_line(capsys, options, message):
    """Exit code 2 and one line that says what is wrong."""
    assert main([*COMMAND, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
