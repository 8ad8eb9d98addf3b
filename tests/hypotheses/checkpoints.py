"""Tiny random checkpoints of the architectures that claims are about, with the organism's tokenizer."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.names import read_config
from lazarus_probe.organisms import bundled
from lazarus_probe.reports.run import Run, read_run

import mlx.core as mx  # isort: skip
from mlx.utils import tree_flatten

from tests.architectures import zoo

LAYERS = 2


def run_hypotheses(*arguments: str | Path, cwd: Path, reports: Path) -> Run:
    """Run pytest in a separate process, without this run's options and CI summary."""
    command = [sys.executable, "-m", "pytest", *map(str, arguments), "-q", "--tb=short"]
    command += ["-p", "no:cacheprovider", "--probe-baseline=none", f"--probe-report={reports}"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "GITHUB"))
    }
    process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    written = list(reports.glob("*/run.json"))
    assert written, process.stdout[-3000:] + process.stderr[-3000:]
    return read_run(written[0])


def settings(name: str) -> dict[str, Any]:
    """The configuration of an architecture in table.yaml, made shallow and given the organism's vocabulary."""
    config = zoo.config(name)
    text = config.get("text_config", config)
    vocabulary = read_config(bundled.path("organism"))["vocab_size"]
    for part in (config, text):
        part |= {"num_hidden_layers": LAYERS, "vocab_size": vocabulary}
    if "layer_types" in text:
        text["layer_types"] = text["layer_types"][:LAYERS]
    if "query_pre_attn_scalar" in text:
        text["query_pre_attn_scalar"] = int(text["query_pre_attn_scalar"])  # transformers requires an integer
    return config


def save(name: str, folder: Path, seed: int = 0, **changes: int) -> Path:
    """Write an untrained model of an architecture as a Hugging Face checkpoint, and return its folder.

    Args:
        name: of the architecture.
        folder: to write.
        seed: of the weights.
        changes: of its configuration.
    """
    config = settings(name) | changes
    module = importlib.import_module(f"mlx_lm.models.{zoo.model_file(name)}")
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict(config))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundled.path("organism") / file, folder / file)
    return folder
