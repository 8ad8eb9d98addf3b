"""From a name to a model: bundled models, local folders, Hugging Face Hub ids.

Importing this module imports neither mlx nor transformers, so that test collection can ask for a model's
layers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
UNTRAINED = re.compile(r"(?P<base>.+)-untrained(?:-(?P<seed>\d+))?")
HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "model*.safetensors"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.npz", "*.gguf")
LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")


class LoadError(ValueError):
    """A name that means nothing, or a checkpoint that cannot be used."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What loading yields: everything a `Subject` is made of but its anatomy."""

    name: str
    model: Any
    tokenizer: Any
    config: dict[str, Any]
    path: Path


def num_layers_of(name: str | Path) -> int:
    """How many layers a model has, from its config.json alone.

    Raises:
        LoadError: the name is unknown, or its config.json cannot be read or gives no number of layers.
    """
    twin = untrained_name(str(name))
    folder = find(twin[0] if twin else name, files=["config.json"])
    config = read_config(folder)
    for settings in (config, config.get("text_config") or {}):
        for key in LAYER_KEYS:
            if key in settings:
                return int(settings[key])
    raise LoadError(
        f"{folder / 'config.json'} gives no number of layers; one of {', '.join(LAYER_KEYS)} is needed"
    )


def untrained_name(name: str) -> tuple[str, int] | None:
    """The bundled model and the seed that `<bundled>-untrained[-<seed>]` asks for; None for other names."""
    match = UNTRAINED.fullmatch(name)
    if match and match["base"] in _bundled_names() and name not in _bundled_names():
        return match["base"], int(match["seed"] or 0)
    return None


def find(name: str | Path, files: list[str] = HUB_FILES) -> Path:
    """The folder that a name stands for; from the Hub, only `files` are fetched.

    Raises:
        LoadError: there is no such model.
    """
    text = str(name)
    if text in _bundled_names():
        from lazarus_probe.organisms import bundled

        return bundled.path(text)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise LoadError(f"{text} is a file; give the folder that holds config.json and model.safetensors")
    if HUB_ID.fullmatch(text) and not text.startswith("."):
        return _from_hub(text, files)
    raise LoadError(_unknown(text))


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint folder.

    Raises:
        LoadError: it is missing, is not JSON, or names no model_type.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise LoadError(f"{folder} is not a checkpoint: config.json is missing")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read: {_first_line(error)}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise LoadError(f"{path} names no model_type; a Hugging Face model configuration is needed")
    return config


def load_parts(name: str | Path) -> Parts:
    """Model, tokenizer and configuration of a trained checkpoint.

    Raises:
        LoadError: see `Subject.load`.
    """
    from lazarus_probe.subject.checkpoint import load_checkpoint, load_tokenizer

    folder = find(name)
    read_config(folder)
    check_files(folder)
    model, config = load_checkpoint(folder)
    # A folder is known by its last part: reports must not depend on where it lies.
    local = str(name) not in _bundled_names() and Path(name).expanduser().is_dir()
    label = folder.resolve().name if local else str(name)
    return Parts(label, model, load_tokenizer(folder, config), config, folder)


def check_files(folder: Path) -> None:
    """Whether the weights and the tokenizer are all there, and whole.

    Raises:
        LoadError: a file is missing, truncated or damaged; the message names it.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise LoadError(f"{folder} is not a checkpoint: tokenizer.json is missing")
    weights = sorted(folder.glob("model*.safetensors"))
    others = sorted(path.name for pattern in OTHER_WEIGHTS for path in folder.glob(pattern))
    if not weights and others:
        raise LoadError(
            f"{folder} has its weights in {others[0]}; only safetensors are read, so convert it first"
        )
    for path in _indexed(folder) or weights or [folder / "model.safetensors"]:
        if not path.is_file():
            raise LoadError(f"{folder} is not a checkpoint: {path.name} is missing")
        check_safetensors(path)


def check_safetensors(path: Path) -> None:
    """Whether a safetensors file has a readable header and as many bytes as that announces.

    Raises:
        LoadError: it has not.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if size < 8 or header_size > size - 8:
            raise LoadError(f"{path} is truncated: its header is incomplete; fetch it again")
        try:
            header = json.loads(file.read(header_size))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise LoadError(f"{path} is damaged: its header is not that of a safetensors file") from None
    wanted = 8 + header_size + max(ends, default=0)
    if size != wanted:
        raise LoadError(f"{path} is truncated or damaged: it has {size} bytes and its header says {wanted}")


def _indexed(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        return sorted({folder / name for name in json.loads(index.read_text())["weight_map"].values()})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise LoadError(f"{index} is damaged: it has no weight_map") from None


def _bundled_names() -> list[str]:
    from lazarus_probe.organisms import bundled

    return list(bundled.names())


def _from_hub(name: str, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{name} could not be fetched from the Hub ({_first_line(error)}); {_known()}"
        ) from None


def _unknown(text: str) -> str:
    close = get_close_matches(text, _bundled_names(), n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"no model named {text!r}: {guess}{_known()}"


def _known() -> str:
    names = ", ".join(_bundled_names()) or "none"
    return f"bundled are {names}; else give a folder or a Hub id such as org/name"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
