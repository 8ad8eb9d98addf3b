"""A random Llama as deep as the published snippets need, with the bundled model's tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from lazarus_probe.organisms.bundled import path


def save_deep(folder: Path, layers: int = 26) -> Path:
    """A checkpoint of many layers and width 16, which `mlx_lm.load` and `--model` take."""
    from mlx_lm.models.llama import Model, ModelArgs

    shutil.copytree(path("organism"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": layers, "hidden_size": 16, "intermediate_size": 24, "head_dim": 4}
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(0)
    model = Model(ModelArgs.from_dict(config))
    weights: Any = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder
