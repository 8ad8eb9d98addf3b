"""What lies in an adapter's folder, before any model is loaded.

Importing this module imports neither mlx nor transformers, so that test collection can look at an adapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lazarus_probe.adapters.peft_settings import peft_settings
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.formats import (
    MLX_CONFIG,
    MLX_WEIGHTS,
    PEFT_PICKLES,
    PEFT_WEIGHTS,
    SEED_CONFIG,
    SEED_WEIGHTS,
)
from lazarus_probe.checkpoints.weights import check_safetensors
from lazarus_probe.files.arrays import open_archive
from lazarus_probe.files.damage import DAMAGED
from lazarus_probe.files.paths import real_path, user_path
from lazarus_probe.files.plain_json import read_json

FILES = (MLX_CONFIG, MLX_WEIGHTS, PEFT_WEIGHTS, SEED_CONFIG, SEED_WEIGHTS)


def label(name: str, adapter: str | Path) -> str:
    """What reports call a model with an adapter: both, the adapter by the last part of its folder."""
    return f"{name}+{real_path(adapter).name}"


def formats(folder: Path) -> frozenset[str]:
    """The formats of the adapter in a folder: `mlx`, `npz`, both of these, or `peft`.

    Raises:
        LoadError: it holds none, or one of the two files of a format is missing; the message says what it holds.
    """
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "there is no such folder"
        raise LoadError(f"{folder} is not an adapter: {reason}; give the folder of one")
    has = {name for name in FILES if (folder / name).is_file()}
    peft = PEFT_WEIGHTS in has or (MLX_WEIGHTS not in has and _says_peft(folder / MLX_CONFIG))
    if peft and MLX_WEIGHTS in has:
        raise LoadError(f"{folder} holds {PEFT_WEIGHTS} and {MLX_WEIGHTS}; remove the one not meant")
    mlx = not peft and bool({MLX_CONFIG, MLX_WEIGHTS} & has)
    present = {"peft": peft, "mlx": mlx, "npz": SEED_WEIGHTS in has}
    if not any(present.values()):
        raise LoadError(f"{folder} is not an adapter: {_what_else(folder)}")
    wanted = (MLX_CONFIG, PEFT_WEIGHTS) * peft + (MLX_CONFIG, MLX_WEIGHTS) * mlx
    for name in (*wanted, *(SEED_CONFIG,) * present["npz"]):
        if name not in has:
            raise LoadError(f"{folder} is not {_called(present)}: {_why_missing(folder, name)}")
    return frozenset(name for name, is_there in present.items() if is_there)


def _says_peft(path: Path) -> bool:
    """Whether a configuration says that peft wrote it; a damaged or missing one does not."""
    try:
        return "peft_type" in read_settings(path)
    except LoadError:
        return False


def _called(present: dict[str, bool]) -> str:
    return "a whole adapter of peft" if present["peft"] else "an adapter"


def _why_missing(folder: Path, name: str) -> str:
    pickle = next((pickle_name for pickle_name in PEFT_PICKLES if (folder / pickle_name).is_file()), None)
    if name == PEFT_WEIGHTS and pickle:
        return (
            f"its weights are in {pickle}, a pickle, which may hold code and is never read; save it again with peft "
            "(save_pretrained, safe_serialization=True)"
        )
    if name == PEFT_WEIGHTS and any(folder.glob("adapter_model-*-of-*.safetensors")):
        return (
            "its weights are in several files, and adapters in one are loaded; save it again with peft "
            "(save_pretrained, max_shard_size='100GB')"
        )
    return f"{name} is missing"


def _what_else(folder: Path) -> str:
    """What a folder without an adapter holds."""
    pickle = next((name for name in PEFT_PICKLES if (folder / name).is_file()), None)
    if pickle:
        return f"{MLX_CONFIG} is missing next to {pickle}"
    if (folder / SEED_CONFIG).is_file() and any(folder.glob("model*.safetensors")):
        return "it holds a whole model; give it as the model (--model)"
    return f"it has neither {MLX_WEIGHTS} (mlx-lm) nor {PEFT_WEIGHTS} (peft) nor {SEED_WEIGHTS}"


def check_adapter(adapter: str | Path) -> None:
    """Whether the files of an adapter are all there, and whole.

    Raises:
        LoadError: they are not; the message names the file.
    """
    folder = user_path(adapter)
    present = formats(folder)
    if "peft" in present:
        peft_settings(folder / MLX_CONFIG, read_settings(folder / MLX_CONFIG))
        check_safetensors(folder / PEFT_WEIGHTS)
    if "mlx" in present:
        read_settings(folder / MLX_CONFIG)
        check_safetensors(folder / MLX_WEIGHTS)
    if "npz" in present:
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
        with open_archive(path) as archive:
            damaged = archive.testzip()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
    except DAMAGED as error:
        raise LoadError(f"{path} is truncated or damaged: {' '.join(str(error).split())}") from None
    if damaged:
        raise LoadError(
            f"{path} is damaged: {damaged.removesuffix('.npy')} in it does not match its checksum"
        )
