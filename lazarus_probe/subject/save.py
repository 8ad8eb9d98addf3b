"""A model written as a checkpoint folder, which any command takes as a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from lazarus_probe.checkpoints.formats import INDEX
from lazarus_probe.files.weight_files import write_arrays
from lazarus_probe.files.whole_files import whole_file, write_aside

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Settings and tokenizer of a checkpoint folder; the weights are written anew.
COMPANION_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")


def save_checkpoint(subject: Subject, folder: Path, weights: Mapping[str, mx.array]) -> Path:
    """Write a model with some weights, and return its folder.

    Settings and tokenizer are those of the folder that the model came from; of a GGUF file, or of a model that came
    from no file, they are those that it has.

    Args:
        subject: the model.
        folder: where to; made if it is not there.
        weights: by name, as the model has them; where none is quantised, neither is the checkpoint.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if subject.path is None or subject.path.is_file():
        config = dict(subject.config)
        subject.tokenizer.save_pretrained(folder)
    else:
        for file in (file for pattern in COMPANION_FILES for file in subject.path.glob(pattern)):
            if file.name not in (INDEX, "config.json"):
                with whole_file(folder / file.name) as aside:
                    shutil.copyfile(file, aside)
        config = json.loads((subject.path / "config.json").read_text(encoding="utf-8"))
    if not any(name.endswith(".scales") for name in weights):
        config = {key: value for key, value in config.items() if not key.startswith("quantization")}
    write_aside(folder / "config.json", json.dumps(config, indent=2) + "\n")
    write_arrays(folder / "model.safetensors", dict(weights), {"format": "pt"})
    return folder
