"""What lies in an adapter's folder, before any model is loaded.

Importing this module imports neither mlx nor transformers, so that test collection can look at an adapter.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import read_json
from lazarus_probe.subject.damage import DAMAGED
from lazarus_probe.subject.load import LoadError, check_safetensors

MLX_CONFIG, MLX_WEIGHTS = "adapter_config.json", "adapters.safetensors"
SEED_CONFIG, SEED_WEIGHTS = "config.json", "lora_weights.npz"


def label(name: str, adapter: str | Path) -> str:
    """What reports call a model with an adapter: both, the adapter by the last part of its folder."""
    return f"{name}+{Path(adapter).expanduser().resolve().name}"


def formats(folder: Path) -> tuple[bool, bool]:
    """Whether a folder holds an adapter as mlx-lm writes it, and one as `lora_weights.npz`.

    Raises:
        LoadError: neither, or one of the two files of a format is missing.
    """
    if not folder.is_dir():
        raise LoadError(f"{folder} is not an adapter: there is no such folder")
    mlx = any((folder / name).is_file() for name in (MLX_CONFIG, MLX_WEIGHTS))
    seed = (folder / SEED_WEIGHTS).is_file()
    if not mlx and not seed:
        raise LoadError(f"{folder} is not an adapter: it has neither {MLX_WEIGHTS} nor {SEED_WEIGHTS}")
    wanted = (MLX_CONFIG, MLX_WEIGHTS) * mlx + (SEED_CONFIG,) * seed
    for name in wanted:
        if not (folder / name).is_file():
            raise LoadError(f"{folder} is not an adapter: {name} is missing")
    return mlx, seed


def check_adapter(adapter: str | Path) -> None:
    """Whether the files of an adapter are all there, and whole.

    Raises:
        LoadError: they are not; the message names the file.
    """
    folder = Path(adapter).expanduser()
    mlx, seed = formats(folder)
    if mlx:
        read_settings(folder / MLX_CONFIG)
        check_safetensors(folder / MLX_WEIGHTS)
    if seed:
        read_settings(folder / SEED_CONFIG)
        _check_zip(folder / SEED_WEIGHTS)


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        LoadError: there is none.
    """
    try:
        settings = read_json(path)
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise LoadError(f"{path} holds no JSON object; the settings of an adapter are needed")
    return settings


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as file:
            damaged = file.testzip()
    except DAMAGED as error:
        raise LoadError(f"{path} is truncated or damaged: {error}") from None
    if damaged:
        raise LoadError(
            f"{path} is damaged: {damaged.removesuffix('.npy')} in it does not match its checksum"
        )
