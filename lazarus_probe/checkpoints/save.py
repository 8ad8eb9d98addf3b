"""A model written as a checkpoint folder, which any command takes as a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from lazarus_probe.checkpoints.formats import INDEX
from lazarus_probe.files.weight_files import write_arrays
from lazarus_probe.files.whole_files import is_writing, make_folder, whole_file, write_aside

# Settings and tokenizer of a checkpoint folder; the weights are written anew.
COMPANION_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")


def save_checkpoint(
    folder: Path,
    weights: Mapping[str, mx.array],
    config: Mapping[str, Any],
    tokenizer: Any,
    source: Path | None,
) -> Path:
    """Write a model as a checkpoint folder, and return the folder.

    Args:
        folder: where to; made if it is not there.
        weights: by name, as the model has them; where none is quantised, neither is the checkpoint.
        config: the model's settings.
        tokenizer: of the model.
        source: what the model was loaded from. Settings and tokenizer are those of a checkpoint folder; of a GGUF file,
            or of a model that came from no file, they are those given.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(folder)
    if source is None or source.is_file():
        if is_writing():
            tokenizer.save_pretrained(folder)
    else:
        for file in (file for pattern in COMPANION_FILES for file in source.glob(pattern)):
            if file.name not in (INDEX, "config.json"):
                with whole_file(folder / file.name) as aside:
                    shutil.copyfile(file, aside)
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    if not any(name.endswith(".scales") for name in weights):
        config = {key: value for key, value in config.items() if not key.startswith("quantization")}
    write_aside(folder / "config.json", json.dumps(dict(config), indent=2) + "\n")
    write_arrays(folder / "model.safetensors", dict(weights), {"format": "pt"})
    return folder
