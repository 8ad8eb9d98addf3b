"""Checking that a checkpoint's files of weights are all present and complete."""

from __future__ import annotations

import re
from pathlib import Path

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.formats import INDEX
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.tensors import TensorEntry, TruncatedError, read_entries

SHARD = re.compile(r"[\w-][\w.-]{0,199}")


def weight_entries(folder: Path) -> dict[str, TensorEntry]:
    """Every tensor of a checkpoint by name, from the headers of its files.

    Raises:
        LoadError: a file of weights is missing, truncated or damaged; the message names it.
    """
    weights = sorted(folder.glob("model*.safetensors"))
    entries: dict[str, TensorEntry] = {}
    # mlx-lm reads all files that match, whatever the index lists.
    listed = _indexed(folder)
    for path in dict.fromkeys([*listed, *weights]) or [folder / "model.safetensors"]:
        if not path.exists() and not path.is_symlink():
            which = f", which {INDEX} lists: a part of the weights; fetch it again" if listed else ""
            raise LoadError(f"{folder} is not a checkpoint: {path.name} is missing{which}")
        entries |= check_safetensors(path)
    return entries


def check_safetensors(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file, after checking that its header is valid and matches its size.

    Raises:
        LoadError: it is not a safetensors file, or it is truncated or damaged.
    """
    try:
        return read_entries(path)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    except TruncatedError as error:
        raise LoadError(f"{path} is truncated or damaged: {error}; fetch it again") from None
    except ValueError as error:
        raise LoadError(f"{path} is damaged: {error}") from None


def _indexed(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.exists() and not index.is_symlink():
        return []
    try:
        names = set(read_json(index)["weight_map"].values())
    except OSError as error:
        raise LoadError(f"{index} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise LoadError(f"{index} is damaged: it has no weight_map") from None
    for name in names:
        if not isinstance(name, str) or not SHARD.fullmatch(name):
            raise LoadError(
                f"{index} is damaged: its weight_map names {ascii(name)[:60]}, no file of this folder"
            )
    return sorted(folder / name for name in names)
