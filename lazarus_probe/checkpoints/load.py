"""From a name to a model with its tokenizer and configuration, every file checked before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.check import check_files
from lazarus_probe.checkpoints.checkpoint import load_checkpoint, load_tokenizer
from lazarus_probe.checkpoints.names import find, label_of, read_config


@dataclass(frozen=True, eq=False)
class Parts:
    """The result of loading: everything that a `Subject` needs except its anatomy."""

    name: str
    model: Any
    tokenizer: Any
    config: dict[str, Any]
    path: Path


def load_parts(name: str | Path, lazy: bool = False) -> Parts:
    """Model, tokenizer and configuration of a trained checkpoint.

    Args:
        name: of the checkpoint.
        lazy: leave the weights of a folder unread, for who needs only parts of them.

    Raises:
        LoadError: see `Subject.load`.
    """
    folder, label = find(name), label_of(name)
    if folder.is_file():
        from lazarus_probe.checkpoints.gguf.load import load_gguf

        model, config, tokenizer = load_gguf(folder)
        return Parts(label, model, tokenizer, config, folder)
    read_config(folder)
    model, config = load_checkpoint(folder, check_files(folder), lazy)
    return Parts(label, model, load_tokenizer(folder, config), config, folder)
