"""Commands on a model with an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lazarus_probe.cli import circuit, lazarus
from lazarus_probe.hooks import trace
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached


@pytest.fixture(scope="module")
def adapter(organism: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA on the bundled model, in a folder called `trained`."""
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    with attached(organism, ["v_proj", "o_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 0.05
        return save_lora_weights(organism, folder, {"model": "organism"})


@pytest.mark.slow
def test_anatomy_checks_the_adapted_model(adapter, capsys):
    """Hooks do on a model with LoRA what they say, and the model is called after both."""
    assert lazarus.main(["anatomy", "-m", "organism", "--adapter", str(adapter)]) == 0
    assert "organism+trained: hooks do what they say" in capsys.readouterr().out


def test_what_is_collected_is_of_the_adapted_model(adapter, tmp_path):
    """`circuit collect` writes the residual stream of the model with the adapter, under its name and fingerprint."""
    prompts, output = tmp_path / "prompts.txt", tmp_path / "found.safetensors"
    prompts.write_text("7 * 8 = \n")
    arguments = ["collect", "-m", "organism", "-d", str(prompts), "-o", str(output), "--layers", "4"]
    assert circuit.main([*arguments, "--adapter", str(adapter)]) == 0
    subject, description = (
        Subject.load("organism", adapter),
        json.loads(output.with_suffix(".json").read_text()),
    )
    assert (description["model_id"], description["fingerprint"]) == ("organism+trained", subject.fingerprint)
    expected = np.array(trace(subject, description["prompts"][0], "resid_post.4")["resid_post.4"])[0, -1]
    np.testing.assert_allclose(load_file(output)["hidden_states.layer_4"][0], expected, rtol=1e-5, atol=1e-6)
    plain = np.array(
        trace(Subject.load("organism"), description["prompts"][0], "resid_post.4")["resid_post.4"]
    )
    assert not np.allclose(plain[0, -1], expected, atol=1e-2)


@pytest.mark.slow
def test_the_scores_are_of_the_adapted_model(adapter, tmp_path):
    """`organism evaluate` scores the model with the adapter."""
    output = tmp_path / "scores.json"
    arguments = ["organism", "evaluate", "organism", "--limit", "1", "--output", str(output)]
    assert lazarus.main([*arguments, "--adapter", str(adapter)]) == 0
    assert json.loads(output.read_text())["model"] == "organism+trained"


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (
            lazarus.main,
            ["anatomy", "-m", "organism-early"],
            "was trained on other weights (organism) than those of",
        ),
        (
            lazarus.main,
            ["organism", "evaluate", "--card"],
            "--card is about a model as it lies in its folder",
        ),
    ],
)
def test_an_adapter_in_the_wrong_place_is_one_line(adapter, capsys, main, arguments, message):
    """Another model's adapter, and a card for what no folder holds, are refused with exit code 2."""
    assert main([*arguments, "--adapter", str(adapter)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
