"""`lazarus introspect compare`: two models side by side, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.cli import lazarus

PAIR = ["-m1", "organism-early", "-m2", "organism"]
PARIS = ["-p", "The capital of France is"]


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Any:
    """The text of a run that must succeed, with nothing on standard error."""

    def run(*arguments: str) -> str:
        code = lazarus.main(["introspect", "compare", *arguments])
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def compared(compare: Any) -> Any:
    """The data of such a run."""
    return lambda *arguments: json.loads(compare(*arguments, "--json"))


def test_published_line_runs_as_written(compare: Any):
    """`-m1` and `-m2`, with one dash, name the models; the table has both and the distance between them."""
    lines = compare(*PAIR, "-p", "prompt").splitlines()
    assert lines[0] == "Comparing: 'prompt'"
    assert lines[2].split() == ["Model", "Top", "token", "Prob"]
    assert [line.split()[0] for line in lines[3:13:5]] == ["organism-early", "organism"]
    text = "\n".join(lines)
    assert "The models predict another token: KL " in text
    assert "=== Logit Lens (top prediction at each layer) ===\nLayer   organism-early" in text
    assert [line.split()[0] for line in lines if line.startswith("L")] == ["Layer", "L0", "L4", "L7"]


@pytest.mark.slow
def test_options_change_what_is_compared(compared: Any, compare: Any):
    """`--top-k`, `--layers` and `--track` show what they say; a tracked text of several tokens is told."""
    plain = compared(*PAIR, *PARIS)
    assert [each["captured_layers"] for each in plain["models"]] == [[0, 4, 7]] * 2
    data = compared(*PAIR, *PARIS, "--top-k", "2", "--layers", "0,3", "--track", " Paris,London")
    assert [len(each["final_prediction"]) for each in data["models"]] == [2, 2]
    assert [each["layer_idx"] for each in data["layer_divergences"]] == [0, 3]
    assert [each["token"] for each in data["models"][0]["token_evolutions"]] == [" Paris", "London"]
    text = compare(*PAIR, *PARIS, "--track", " Paris,London", "-l", "all")
    assert "Token ' Paris':\n  organism-early: emerges at layer 6, final prob 0.8601\n" in text
    assert "  organism: emerges at layer 0, final prob 0.9996\n" in text
    assert "  organism: never on top, final prob 0.0000 (of 'L', the first of 4 tokens)\n" in text


def test_data_names_both_models(compared: Any, tmp_path: Path):
    """JSON has both analyses, the distances, and what both models are; a file of prompts gives results."""
    data = compared(*PAIR, *PARIS)
    assert list(data) == [
        "prompt", "models", "same_tokens", "same_top_token", "layer_divergences", "final_kl", "final_js", "about",
    ]  # fmt: skip
    assert [each["model"] for each in data["about"]] == ["organism-early", "organism"]
    assert data["final_kl"] == data["layer_divergences"][-1]["kl_divergence"] > 0
    file, saved = tmp_path / "prompts.txt", tmp_path / "out.json"
    file.write_text("The capital of France is\n2 + 2 = \n")
    assert lazarus.main(["introspect", "compare", *PAIR, "-p", f"@{file}", "-o", str(saved)]) == 0
    results = json.loads(saved.read_text())["results"]
    assert results[0]["final_js"] == pytest.approx(data["final_js"], rel=1e-3)


@pytest.mark.slow
def test_a_model_and_its_adapter_are_told_apart(compared: Any, tmp_path: Path, organism: Any):
    """The same model twice is at distance 0, and an adapter of either side is what makes the difference."""
    from lazarus_probe.training.lora.adapter import save_adapter
    from lazarus_probe.training.lora.lora import attached

    twice = ["-m1", "organism", "-m2", "organism", *PARIS]
    assert compared(*twice)["final_js"] == 0
    with attached(organism, ["v_proj"], rank=2, scale=40.0, layers=range(8), seed=0):
        for block in organism.model.layers:
            block.self_attn.v_proj.lora_b = block.self_attn.v_proj.lora_b + 0.1
        save_adapter(organism, tmp_path / "adapter", base="organism")
    folder = str(tmp_path / "adapter")
    first, second = (compared(*twice, option, folder) for option in ("--adapter1", "--adapter2"))
    assert first["final_js"] == pytest.approx(second["final_js"]) != 0
    assert first["final_kl"] != pytest.approx(second["final_kl"], rel=1e-3)
    assert compared(*twice, "--adapter1", folder, "--adapter2", folder)["final_js"] == 0


def test_models_with_other_tokens_are_matched_by_text(
    compare: Any, save_checkpoint: Any, make_llama: Any, tmp_path: Path
):
    """No layer is compared and no KL given; the text says that texts were matched."""
    folder = save_checkpoint(tmp_path / "other", make_llama())
    text = compare("-m1", "organism", "-m2", str(folder), "-p", "1 + 1 = ")
    assert "Their tokens differ, so these are matched by text:\n  JS at least 0." in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("L")] == [
        "Layer",
        "L0",
        "L3",
        "L4",
        "L7",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PAIR, "-p", ""], "--prompt is empty"),
        ([*PAIR, *PARIS, "--track", " Paris,,x"], "a token is empty"),
        ([*PAIR, *PARIS, "--layers", "8"], "there is no layer 8"),
        ([*PAIR, *PARIS, "--top-k", "0"], "--top-k"),
        ([*PAIR, *PARIS, "-o", "/"], "--output / is a folder"),
        (["-m1", "organism", *PARIS], "Missing option '--model2' / '-m2'"),
        (["-m1", "organism", "-m2", "orgasm", *PARIS], "no model named 'orgasm': did you mean organism?"),
        ([*PAIR, *PARIS, "--adapter1", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str):
    """Every mistake is one line on standard error that names what is wrong, and exit code 2."""
    code = lazarus.main(["introspect", "compare", *arguments])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_layers_mean_the_same_in_both(
    capsys: pytest.CaptureFixture[str], save_checkpoint: Any, make_llama: Any, tmp_path: Path
):
    """In models of different depth `-1` is another layer in each, and is refused; `0,2` is not."""
    folder = str(save_checkpoint(tmp_path / "other", make_llama()))
    run = ["introspect", "compare", "-m1", "organism", "-m2", folder, "-p", "1 + 1 = ", "--layers"]
    assert lazarus.main([*run, "-1"]) == 2
    assert "--layers -1 is [7] of model 1 and [3] of model 2" in capsys.readouterr().err
    assert lazarus.main([*run, "0,2"]) == 0
