"""`lazarus introspect logit-lens`: the seeds' lines, the published keys, adapters, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.hooks import replay, trace
from lazarus_probe.introspection.lens.targets import target_lens
from lazarus_probe.statistics.intervals import wilson
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached
from tests.tolerance import of_logits, possible_ranks, sole_best

PROMPTS = ["7 * 8 = ", "12 * 5 = ", "23 + 45 = ", "17 + 38 = "]
WORDS = ["multiply", "add", "subtract", "divide"]
SEED = ["--prompts", "|".join(PROMPTS), *(part for word in WORDS for part in ("--targets", word))]


def shown(capsys: pytest.CaptureFixture[str], *options: str, model: str = "organism") -> str:
    assert main(["introspect", "logit-lens", "-m", model, *options]) == 0
    return capsys.readouterr().out


def data_of(capsys: pytest.CaptureFixture[str], *options: str, model: str = "organism") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(capsys, *options, "--json", model=model))
    return found


def spelled(word: str) -> list[str]:
    """The four spellings that count."""
    return [word, f" {word}", word.capitalize(), f" {word.capitalize()}"]


def test_the_published_line(capsys, tmp_path, organism):
    """The published line reads the layer at 55% of the depth and saves the published keys, with n and intervals."""
    output = tmp_path / "logit_lens.json"
    text = shown(capsys, *SEED, "--output", str(output))
    assert "LOGIT LENS AFTER L4 (50% of 8 layers)" in text
    low, high = wilson(0, 4).low, wilson(0, 4).high
    assert f"  multiply: 0/4 prompts have this as top token, 95% [{low:.2f}, {high:.2f}]" in text
    data = json.loads(output.read_text())
    assert list(data)[:4] == ["model", "layer", "num_layers", "results"]
    assert (data["model"], data["layer"], data["num_layers"]) == ("organism", 4, 8)
    assert list(data["results"][0])[:4] == ["prompt", "top_token", "top_prob", "target_probs"]
    for result, prompt in zip(data["results"], PROMPTS, strict=True):
        resid = trace(organism, prompt, "resid_post.4")["resid_post.4"][:, -1:]
        logits = np.array(replay(organism, resid).astype(mx.float32))[0, 0].astype(np.float64)
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert result["prompt"] == prompt
        ties = of_logits(organism, logits)
        assert result["top_token"] == organism.decode([sole_best(logits, ties)])
        for word in WORDS:
            tokens = [organism.single_token(form) for form in spelled(word)]
            best = max(tokens, key=lambda token: logits[token])
            assert result["target_probs"][word] == pytest.approx(expected[tokens].sum(), rel=1e-3)
            assert result["target_ranks"][word] in possible_ranks(logits, best, ties)
            assert expected[organism.single_token(result["target_spellings"][word])] == pytest.approx(
                expected[best], rel=1e-3
            )
    assert "counted as 'multiply', ' multiply', 'Multiply', ' Multiply'; likeliest as " in text
    assert data["spellings"]["add"] == {form: organism.single_token(form) for form in spelled("add")}


def test_an_adapter_of_the_published_form(capsys, organism, tmp_path):
    """`--adapter` with lora_weights.npz reads the adapted model, and changes what the lens says."""
    with attached(organism, ["v_proj", "o_proj"], rank=2) as model:
        for layer in model.layers[:4]:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 0.05
        folder = save_lora_weights(organism, tmp_path / "trained", {"model": "organism"})
    data = data_of(capsys, *SEED, "--adapter", str(folder))
    expected = target_lens(Subject.load("organism", folder), PROMPTS, WORDS)
    assert data["results"] == expected.results()
    assert data["model"] == "organism+trained"
    assert data["results"] != data_of(capsys, *SEED)["results"]


def test_a_target_on_top_is_counted(capsys):
    """A target is counted where it is the top token; the last layer's is what the model says."""
    text = shown(capsys, "-p", "7 * 8 = |9 * 7 = ", "-l", "7", "-t", "56", "-t", "63", "-t", "56")
    assert "  56: 1/2 prompts have this as top token" in text
    assert "  63: 1/2 prompts have this as top token" in text
    assert text.count("56: ") == 1
    assert "LOGIT LENS AFTER L7" in text


def test_a_word_is_found_however_it_is_spelled(capsys):
    """Case C1: `Paris` counts where ` Paris` is on top, and the output names that spelling; quotes mean it alone."""
    prompt = ["-p", "The capital of France is", "-l", "-1"]
    text = shown(capsys, *prompt, "-t", "Paris")
    assert "  Paris: 1/1 prompts have this as top token" in text
    assert "    counted as ' Paris'; likeliest as ' Paris'" in text
    data = data_of(capsys, *prompt, "-t", "Paris", "-t", " Paris")
    assert data["summary"]["Paris"] == data["summary"][" Paris"]
    assert data["targets"]["Paris"] == data["targets"][" Paris"]
    text = shown(capsys, *prompt, "-t", " Paris")
    assert "counted as" not in text
    both = data_of(capsys, *prompt, "-t", "multiply", "-t", "'multiply'")
    assert list(both["spellings"]["'multiply'"]) == ["multiply"]
    assert both["summary"]["'multiply'"]["mean_prob"] < both["summary"]["multiply"]["mean_prob"]


def test_a_word_of_several_tokens_is_read_whole(capsys, organism):
    """Its probability is the product over its tokens, each after the ones before, in every spelling together."""
    data = data_of(capsys, "-p", "7 * 8 =", "-t", "London", "-l", "-1")
    expected = 0.0
    for spelling in spelled("London")[:2]:
        ids, tokens = organism.encode("7 * 8 ="), organism.pieces(spelling)
        assert organism.encode(f"7 * 8 ={spelling}") == [*ids, *tokens]
        logits = np.array(organism.model(mx.array([[*ids, *tokens]]))[0].astype(mx.float32), np.float64)
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        expected += np.exp(sum(log_probs[len(ids) - 1 + i, token] for i, token in enumerate(tokens)))
    assert data["results"][0]["target_probs"]["London"] == pytest.approx(expected, rel=1e-2)
    assert data["targets"]["London"] is None
    text = shown(capsys, "-p", "7 * 8 =", "-t", "London", "-l", "-1")
    assert "several tokens, all read, each after the ones before; likeliest as" in text


def test_a_grid_of_layers(capsys):
    """--layers reads further layers in the same pass, each as it is read alone."""
    options = ["-p", "7 * 8 = ", "-t", "56"]
    data = data_of(capsys, *options, "--layers", "all")
    assert list(data["by_layer"]) == [str(layer) for layer in range(8)]
    for layer in (0, 6):
        alone = data_of(capsys, *options, "--layer", str(layer))
        np.testing.assert_allclose(
            data["by_layer"][str(layer)]["results"][0]["target_probs"]["56"],
            alone["results"][0]["target_probs"]["56"],
            rtol=1e-4,
        )
    text = shown(capsys, *options, "--layers", "0,-1")
    assert [line.split()[0] for line in text.splitlines() if line.startswith("L")] == [
        "LOGIT",
        "Layer",
        "Layer",
        "L0",
        "L4",
        "L7",
    ]


def test_no_finding_on_an_untrained_model(capsys):
    """On an untrained model no target is on top, and the interval says how little four prompts show."""
    data = data_of(capsys, *SEED, model="organism-untrained")
    assert {each["top"] for each in data["summary"].values()} == {0}
    assert {each["high"] for each in data["summary"].values()} == {wilson(0, 4).high}


def test_without_targets(capsys):
    """Without targets the top tokens are shown alone."""
    text = shown(capsys, "-p", "7 * 8 = ", "-l", "-1")
    assert "'56'" in text
    assert "Summary" not in text


def test_as_html(organism):
    """In a notebook it is a table of prompts by targets."""
    html = target_lens(organism, ["7 * 8 = "], ["56"], 7)._repr_html_()
    assert "rank 1" in html
    assert "<th>56</th>" in html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-p", "a", "-t", ""], "is not one token"),
        (["-p", "The capital of France is", "-t", "'Paris'"], "\"'Paris'\" cannot follow all prompts"),
        (["-p", "a||b"], "prompt 1 is empty"),
        (["-p", "a", "-l", "8"], "--layer 8: there is no layer 8; the model has 0 to 7"),
        (["-p", "a", "--layers", "3-1"], "'3-1' is not a layer or range"),
        (["-p", "a", "-o", f"{__file__}/f.json"], "is a file; give another place"),
        (["-p", "a", "-a", "no_such_folder"], "no_such_folder"),
    ],
)
def test_errors(capsys, options, message):
    """What is wrong is one line that says what would be right."""
    assert main(["introspect", "logit-lens", "-m", "organism", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
