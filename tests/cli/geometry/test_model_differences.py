"""`weight-diff`, `activation-diff` and `commutativity` of `lazarus introspect`: print, keep, refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from lazarus_probe.cli import lazarus
from lazarus_probe.subject.subject import Subject

PAIR = ["-b", "organism-early", "-f", "organism"]
PRODUCTS = "|".join(f"{a}*{b},{b}*{a}" for a, b in [(2, 3), (4, 7), (5, 9)])


def run(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    assert lazarus.main(["introspect", command, *arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(capsys, command, *arguments, "--json"))
    return found


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of rank 2 on the last layer's output projection of the organism, in mlx-lm's format."""
    folder = tmp_path_factory.mktemp("adapter")
    subject = Subject.load("organism")
    lora = {"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": ["self_attn.o_proj"]}
    linear_to_lora_layers(subject.model, 1, lora)
    weights = {
        name: mx.random.normal(weight.shape, key=mx.random.key(0))
        for name, weight in tree_flatten(subject.model.parameters())
        if "lora_" in name
    }
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    (folder / "adapter_config.json").write_text(
        json.dumps({"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": lora})
    )
    return folder


def test_weight_diff_lists_every_weight(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A row for each weight, large ones marked, five on top, and the published keys in the file."""
    file = tmp_path / "weights.json"
    printed = run(capsys, "weight-diff", *PAIR, "-o", str(file))
    assert len(re.findall(r"^(?:\d|-) +\w+ +\d\.\d{4} ", printed, re.MULTILINE)) == 74
    assert re.search(r"^3 +mlp_down +1\.\d{4} +\*\*\* ", printed, re.MULTILINE)
    assert re.search(r"^7 +post_attention_layernorm +0\.07\d\d +0\.99", printed, re.MULTILINE)
    assert "Top 5 by relative difference:\n" in printed
    kept = json.loads(file.read_text())
    assert list(kept["results"][0])[:3] == ["layer", "component", "relative_diff"]
    assert {"mlp_down", "attn_o", "embedding", "final_norm"} <= {row["component"] for row in kept["results"]}
    assert kept["about"]["model"] == "organism-early"
    assert kept["about_finetuned"]["model"] == "organism"


@pytest.mark.slow
def test_weight_diff_of_an_adapter(capsys: pytest.CaptureFixture[str], adapter: Path):
    """An adapter counts in place of the second model and beside it, and is the one difference, of its rank."""
    for arguments in (
        ["-f", str(adapter)],
        ["--adapter", str(adapter)],
        ["-f", "organism", "-a", str(adapter)],
    ):
        found = data(capsys, "weight-diff", "-b", "organism", *arguments)
        changed = [row for row in found["results"] if row["norm_diff"] > 0]
        assert [(row["layer"], row["component"], row["rank"]) for row in changed] == [(7, "attn_o", 2)]


def test_a_model_against_itself(capsys: pytest.CaptureFixture[str]):
    """All is 0, or exactly 1, and nothing is marked."""
    same = ["-b", "organism", "-f", "organism"]
    printed = run(capsys, "weight-diff", *same)
    assert "All weights together: 0.0000; changed are 0 of 74" in printed
    assert "***" not in printed
    assert "Top" not in printed
    found = data(capsys, "activation-diff", *same, "-p", "7*8=|7 + 8 = ")
    assert {row["cosine_similarity"] for row in found["results"]} == {1.0}
    assert {row["divergence"] for row in found["by_layer"]} == {0.0}


def test_activation_diff_has_every_layer(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Average, divergence and its mark by layer, with interval and scale, and a row a prompt and layer in the file."""
    file = tmp_path / "activations.json"
    printed = run(capsys, "activation-diff", *PAIR, "-p", "7*8=|7 + 8 = |A cat", "-o", str(file))
    assert re.search(r"^Layer +Avg Cos Sim +Divergence ", printed, re.MULTILINE)
    assert re.search(r"^L7 +0\.\d{4} +0\.\d{4} +\*\*\* +\[-?\d\.\d+, \d\.\d+\] ", printed, re.MULTILINE)
    kept = json.loads(file.read_text())
    assert len(kept["results"]) == 24
    assert kept["results"][8]["prompt"] == "7 + 8 = "
    assert list(kept["results"][0])[:3] == ["prompt", "layer", "cosine_similarity"]
    assert [row["layer"] for row in kept["by_layer"]] == list(range(8))


@pytest.mark.slow
def test_activation_diff_options_count(capsys: pytest.CaptureFixture[str], adapter: Path):
    """Position, seed and adapter change what comes out; commas do not separate prompts, and that is said."""
    last, every = (
        data(capsys, "activation-diff", *PAIR, "-p", "7*8=", "--position", place) for place in ("-1", "all")
    )
    assert last["results"][3] != every["results"][3]
    other = data(capsys, "activation-diff", *PAIR, "-p", "7*8=", "--seed", "5")
    assert other["by_layer"][0]["controls"] != last["by_layer"][0]["controls"]
    assert other["results"] == last["results"]
    adapted = data(capsys, "activation-diff", "-b", "organism", "-a", str(adapter), "-p", "7*8=")
    divergence = [row["divergence"] for row in adapted["by_layer"]]
    assert divergence[:7] == [0.0] * 7
    assert divergence[7] > 0
    printed = run(capsys, "activation-diff", *PAIR, "-p", "7*8=, 7+8=")
    assert "Prompts: 1 (commas are part of a prompt; write | between prompts)" in printed
    assert "n = 1 prompt: there is no interval" in printed


def test_commutativity_prints_and_keeps(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Pairs, level, controls, the verdict on the declared claim, and the published keys."""
    file = tmp_path / "swaps.json"
    printed = run(capsys, "commutativity", "-m", "organism", "-o", str(file))
    assert re.search(r"^2\*3= +3\*2= +0\.99\d\d +6 +6$", printed, re.MULTILINE)
    assert "Level: not shown" in printed
    assert "No finding (inconclusive: cosine of a pair with its operands swapped 1.00 [" in printed
    assert re.search(r"a-b with b-a +0\.9\d\d\d +gain \+0\.0", printed)
    assert "Cosines are centred on the other pairs of the same operation; --keep-outliers" in printed
    assert re.search(r"n = 28; raw mean 0\.99", printed)
    assert (json.loads(file.read_text())["claim"], "order-does-not-matter" in printed) == (
        "swapped-pairs-alike",
        False,
    )
    kept = json.loads(file.read_text())
    assert list(kept)[:8] == [
        "model_id", "layer", "num_pairs", "mean_similarity", "std_similarity", "min_similarity", "max_similarity",
        "pairs",
    ]  # fmt: skip
    assert (kept["layer"], kept["num_pairs"]) == (4, 28)
    assert list(kept["pairs"][0])[:3] == ["prompt_a", "prompt_b", "similarity"]
    assert [control["name"] for control in kept["controls"]][-3:] == [
        "untrained",
        "new_blocks",
        "permuted_blocks",
    ]
    assert len(kept["controls"]) == 7


def test_commutativity_options_count(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Pairs from the line or a file, one layer or several, and the seed of the controls."""
    file = tmp_path / "pairs.txt"
    file.write_text(PRODUCTS.replace("|", "\n") + "\n")
    one = data(capsys, "commutativity", "-m", "organism", "--pairs", PRODUCTS, "-l", "0")
    assert (one["layer"], one["num_pairs"]) == (0, 3)
    assert one["verdict"].startswith("inconclusive: 3 independent groups")
    several = data(
        capsys, "commutativity", "-m", "organism", "--pairs", f"@{file}", "--layers", "0,5", "--seed", "3"
    )
    assert [row["layer"] for row in several["layers"]] == [0, 5]
    assert several["pairs"] == one["pairs"]
    assert several["controls"] != one["controls"]


@pytest.mark.slow
def test_untrained_model_has_no_finding(capsys: pytest.CaptureFixture[str]):
    """On random weights it is never said that order does not matter."""
    printed = run(capsys, "commutativity", "-m", "organism-untrained", "--layers", "0,4,7")
    assert printed.count("No finding") == 3
    assert "does not matter" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["weight-diff", "-b", "organism"], "--finetuned is missing; give a model, an adapter's folder"),
        (["weight-diff", "-b", "organism", "-f", "golem"], "no model named 'golem'"),
        (["weight-diff", *PAIR, "-o", "/dev/null/none/w.json"], "--output /dev/null/none/w.json"),
        (["weight-diff", *PAIR, "-a", "/nowhere"], "/nowhere is not an adapter"),
        (["activation-diff", *PAIR, "-p", "a||b"], "prompt 1 is empty"),
        (["activation-diff", *PAIR, "-p", "7*8=", "--position", "5"], "position 5 is out of range"),
        (["activation-diff", *PAIR, "-p", "7*8=", "--position", "mean"], "--position mean is unknown"),
        (["commutativity", "-m", "organism", "--pairs", "2*3,3*4"], "with two different operands swapped"),
        (["commutativity", "-m", "organism", "--pairs", "2*3,3*2"], "give at least 2"),
        (["commutativity", "-m", "organism", "-l", "8"], "there is no layer 8"),
        (["commutativity", "-m", "organism", "-l", "1", "--layers", "2"], "both given"),
        (["commutativity", "-m", "organism", "--pairs", "@/nowhere/p.txt"], "No such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    """What cannot be compared is named in one line, with exit code 2 and nothing printed."""
    assert lazarus.main(["introspect", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_other_architectures_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, make_llama: Any, save_checkpoint: Any
):
    """The first difference is named."""
    folder = str(save_checkpoint(tmp_path / "tiny", make_llama()))
    for command, more in (("weight-diff", []), ("activation-diff", ["-p", "7*8="])):
        assert lazarus.main(["introspect", command, "-b", "organism", "-f", folder, *more]) == 2
        assert "layers is 8 in the first and 4 in the second" in capsys.readouterr().err
