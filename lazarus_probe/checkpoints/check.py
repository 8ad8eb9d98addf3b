"""Checking that a folder holds a complete checkpoint, without mlx or transformers."""

from __future__ import annotations

from pathlib import Path

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.tokenizer_check import check_texts
from lazarus_probe.checkpoints.weights import weight_entries
from lazarus_probe.files.tensors import TensorEntry

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")


def check_files(folder: Path) -> dict[str, TensorEntry]:
    """Check that the files of weights and tokenizer in a folder exist and are complete.

    Returns:
        The tensors of the weights by name.

    Raises:
        LoadError: a file is missing, truncated, damaged, not a regular file or too large; the message names it.
    """
    check_texts(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise LoadError(f"{folder} is not a checkpoint: tokenizer.json is missing")
    return weight_entries(folder)


def check_gguf(path: Path) -> None:
    """Whether a GGUF file is whole, and its architecture is one that is loaded.

    Raises:
        LoadError: it is not; the message names file and field.
    """
    from lazarus_probe.checkpoints.gguf.config import config_of
    from lazarus_probe.checkpoints.gguf.reader import read_gguf
    from lazarus_probe.checkpoints.gguf.vocabulary import vocabulary_of

    file = read_gguf(path)
    config_of(file)
    if "tokenizer.ggml.model" in file.metadata:
        vocabulary_of(file)
