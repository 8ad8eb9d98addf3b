"""`lazarus introspect patch`: what it prints and keeps, that each option counts, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.cli import lazarus

COMMAND = ["introspect", "patch", "-m", "organism"]
PROMPTS = ["-s", "7*8=", "-t", "7+8="]
SHORT = [*PROMPTS, "-n", "2"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert lazarus.main([*COMMAND, *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, *arguments, "--json"))
    return found


def test_one_layer_is_laid_out_as_published(capsys: pytest.CaptureFixture[str]):
    """Header, both prompts with their answers, before, after and the effect stand in the published order."""
    printed = run(capsys, *PROMPTS, "--layer", "5")
    assert printed.splitlines()[:15] == [
        "=" * 70,
        "ACTIVATION PATCHING",
        "=" * 70,
        "Source: 7*8= (expected: 56)",
        "Target: 7+8= (expected: 15)",
        "Patching at layer 5",
        "",
        "Before patching:",
        "  Target output: 15 (correct for 7+8)",
        "",
        "After patching:",
        "  Target output: 56 (source answer transferred!)",
        "",
        "Effect: TRANSFER SUCCESS",
        "  Computation from source replaced target computation",
    ]
    assert "Unrelated sources: 0/8 bring 56" in printed
    assert "n = 1 pair: it shows what can happen, not how often" in printed


def test_sweep_is_laid_out_as_published(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """The table has the published columns first, the file the published keys."""
    file = tmp_path / "sweep.json"
    printed = run(capsys, *PROMPTS, "--layers", "0-2", "-o", str(file))
    assert printed.splitlines()[1] == "LAYER SWEEP: 7*8= → 7+8="
    assert re.search(r"^Layer +Target Output +Effect +Logit diff", printed, re.MULTILINE)
    assert re.search(r"^L1 +56 +FULL TRANSFER ", printed, re.MULTILINE)
    assert "Critical layer: 0 (first full transfer)" in printed
    kept = json.loads(file.read_text())
    assert list(kept)[:8] == [
        "model_id", "source_prompt", "source_expected", "target_prompt", "target_expected", "position", "results",
        "critical_layer",
    ]  # fmt: skip
    assert (kept["source_expected"], kept["target_expected"], kept["position"]) == ("56", "15", "last")
    assert list(kept["results"][1])[:5] == [
        "layer", "original_output", "patched_output", "effect", "source_answer_found",
    ]  # fmt: skip
    assert kept["results"][1]["effect"] == "full_transfer"
    assert kept["summary"] == {"first_effect_layer": 0, "full_transfer_layer": 0, "effect_fade_layer": None}
    assert kept["about"]["seed"] == 0


def test_every_option_counts(capsys: pytest.CaptureFixture[str]):
    """Layer, position, blend, length, answers and seed each change what comes out."""
    plain = data(capsys, *SHORT, "-l", "-2")
    assert [row["layer"] for row in plain["results"]] == [6]
    assert plain["results"][0]["patched_output"] == "56"
    (unpatched,) = data(capsys, *SHORT, "-l", "0", "--blend", "0")["results"]
    assert (unpatched["layer"], unpatched["effect"]) == (0, "no_effect")
    assert abs(unpatched["kl"]) < 1e-4
    assert data(capsys, *SHORT, "-l", "6", "--position", "1")["results"][0]["patched_output"] == "15"
    (cut,) = data(capsys, "-s", "47*47=", "-t", "47+47=", "-l", "6", "-n", "1")["results"]
    assert cut["patched_output"] in "2209"
    assert cut["effect"] == "partial_transfer"
    given = data(
        capsys, *SHORT, "-l", "6", "--expected-source", "57", "--expected-target", "1", "--seed", "1"
    )
    assert (given["source_expected"], given["target_expected"]) == ("57", "1")
    assert given["results"][0]["effect"] == "partial_transfer"
    assert given["critical_layer"] is None
    assert given["controls"]["random_donor"] != plain["controls"]["random_donor"]


def test_prompts_stay_in_their_line(capsys: pytest.CaptureFixture[str]):
    """Prompts keep their spaces, and a line break in one does not break the layout."""
    printed = run(capsys, "-s", "A\ncat", "-t", " two ", "--layer", "3", "-n", "1")
    assert printed.splitlines()[3].startswith(r"Source: 'A\ncat' (expected: ")
    assert printed.splitlines()[4].startswith("Target:  two  (expected: ")


def test_pairs_give_rates_and_a_layer(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Many pairs give rates with intervals and controls, and only then a layer in general."""
    file = tmp_path / "pairs.txt"
    pairs = [f"{a}*{b}= => {a}+{b}=" for a in range(2, 7) for b in range(max(3, a), 9)]
    file.write_text("\n".join([*pairs, "2*2= => 2+2=\n"]))
    printed = run(capsys, "--pairs", str(file), "--layers", "2,7", "-n", "2")
    assert f"Pairs: {len(pairs)} of {len(pairs)} independent groups; left out" in printed
    assert "answers: 1\n" in printed
    assert re.search(r"^L2 +\d\.\d\d \[\d\.\d\d, \d\.\d\d\] +0\.0\d +0\.0\d ", printed, re.MULTILINE)
    assert (
        "Critical layer: 2 (first full transfer; chosen on one half of the pairs, tried on the other"
        in printed
    )
    assert re.search(r"; damage: next-token probability moved on unrelated prompts \d\.\d\d \[", printed)
    few = tmp_path / "few.json"
    words = [("France", "Germany"), ("Spain", "Italy"), ("Norway", "Peru"), ("Cuba", "Kenya")]
    rows = [{"source": f"The capital of {a} is", "target": f"The capital of {b} is"} for a, b in words]
    few.write_text(json.dumps({"pairs": rows}))
    assert "(first full transfer of half the pairs: layer 2; the answers are what the model says" in run(
        capsys, "--pairs", str(few), "-l", "2", "-n", "2"
    )
    one = run(capsys, "-s", rows[0]["source"], "-t", rows[0]["target"], "--layers", "2,3", "-n", "2")
    assert "Critical layer: 2 (first full transfer, of what the model itself says)" in one
    assert "Verdict on the layer: inconclusive" in one


@pytest.mark.slow
def test_untrained_model_has_no_finding(capsys: pytest.CaptureFixture[str]):
    """On random weights no transfer is called a success, not even where the last layer copies the next token."""
    words = ["-s", "The capital of France is", "-t", "The capital of Germany", "-n", "2"]
    for arguments in (SHORT, [*words, "--layers", "0,7"], [*words, "--layer", "7"]):
        printed = run(capsys, "-m", "organism-untrained", *arguments)
        assert ("Critical layer: none" in printed) == ("--layer" not in arguments)
        assert "FULL TRANSFER" not in printed.replace("FULL TRANSFER: ", "")
        assert "SUCCESS" not in printed
        assert "replaced" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-s", "7*8="], "--target is missing; give a prompt, or --pairs FILE"),
        (["-s", "", "-t", "a"], "--source is empty"),
        ([*PROMPTS, "-l", "8"], "--layer 8: there is no layer 8; the model has 0 to 7"),
        ([*PROMPTS, "-l", "1", "--layers", "2"], "--layer and --layers are both given"),
        ([*PROMPTS, "--layers", "5-2"], "is not a layer or range"),
        ([*PROMPTS, "--position", "first"], "--position first is unknown"),
        ([*PROMPTS, "--position", "5"], "position 5 is out of range: '7+8=' has positions 0 to 4"),
        (
            ["-s", "The 7*8=", "-t", "7+8=", "--position", "all"],
            "give prompts of equal length, or --position last",
        ),
        ([*PROMPTS, "--blend", "1.5"], "--blend"),
        ([*PROMPTS, "--expected-source", " "], "--expected-source is empty"),
        ([*PROMPTS, "--pairs", "p.txt"], "--source is given together with --pairs p.txt"),
        (["--pairs", "/dev/null/p.txt"], "/dev/null/p.txt: Not a directory"),
        ([*PROMPTS, "-o", "/dev/null/none/p.json"], "--output /dev/null/none/p.json"),
        ([*PROMPTS, "-m", "golem"], "no model named 'golem'"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    """What cannot be patched is named in one line, with exit code 2 and nothing printed."""
    assert lazarus.main([*COMMAND, *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err
