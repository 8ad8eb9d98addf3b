"""Each command for tuned lenses, attribution, paths and heads reads the model with its adapter."""

from __future__ import annotations

import json

import mlx.core as mx
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.subject import Subject
from lazarus_probe.training.lora.adapter import save_adapter
from lazarus_probe.training.lora.lora import attached
from tests.cases import slow_except

PAIR = ["--source", "12 * 8 = ", "--target", "12 * 7 = ", "--answer", "96", "--other", "84"]
COMMANDS = {
    "logit-attribution": ["-p", "12 * 7 = ", "--answer", "84"],
    "attribution-patch": [*PAIR, "--layers", "0", "--top", "1"],
    "path-patch": [*PAIR, "--sender", "mlp_out.1"],
    "find-circuit": [
        *("--clean", "12 * 7 = |12 * 9 = ", "--corrupted", "12 + 7 = |12 + 9 = ", "--same-pairs"),
        *("--steps", "1", "--edges", "700", "--exact", "0"),
    ],
    "heads": ["--length", "4", "--rows", "5", "--untrained", "3"],
}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """LoRA of the organism that changes what it says."""
    subject, folder = Subject.load("organism"), tmp_path_factory.mktemp("adapters") / "loud"
    with attached(subject, targets=["v_proj", "o_proj"], rank=2, scale=8.0, seed=0, layers=[0, 1]) as trained:
        for _, module in trained.named_modules():
            if "lora_b" in module:
                module.lora_b = 0.3 * mx.ones_like(module.lora_b)
        save_adapter(subject, folder, base="organism")
    return folder


@pytest.mark.parametrize("command", slow_except(COMMANDS, *(name for name in COMMANDS if name != "heads")))
def test_the_adapter_is_read(capsys, adapter, command):
    """What was measured is the model with its adapter: the data has its name and its fingerprint."""
    options = ["-m", "organism", "--adapter", str(adapter), "--json"]
    assert main(["introspect", command, *options, *COMMANDS[command]]) == 0
    about = json.loads(capsys.readouterr().out)["about"]
    assert about["model"] == "organism+loud"
    assert about["fingerprint"] == Subject.load("organism", adapter).fingerprint


@pytest.mark.slow
def test_a_lens_belongs_to_the_model_with_its_adapter(capsys, adapter, tmp_path):
    """A lens trained with an adapter reads with it, and is refused without."""
    lens, command = str(tmp_path / "lens"), ["introspect", "tuned-lens"]
    train = [*command, "train", "-m", "organism", "-a", str(adapter), "--steps", "2", "--batch-size", "16"]
    assert main([*train, "--samples", "12", "--no-untrained", "-o", lens]) == 0
    read = [*command, "read", "-m", "organism", "-p", "1 + ", "--lens", lens]
    assert main([*read, "-a", str(adapter)]) == 0
    assert "organism+loud" in capsys.readouterr().out
    assert main(read) == 2
    assert "trained on organism+loud" in capsys.readouterr().err
