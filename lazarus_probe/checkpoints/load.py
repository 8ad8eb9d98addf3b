"""From a name to a model: bundled models, local folders, Hugging Face Hub ids.

Importing this module imports neither mlx nor transformers, so that test collection can ask for a model's
layers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.formats import INDEX, why_not_a_checkpoint
from lazarus_probe.files.paths import check_utf8, real_path, user_path
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.tensors import TensorEntry, TruncatedError, read_entries
from lazarus_probe.spelling import nearest

SHARD = re.compile(r"[\w-][\w.-]{0,199}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
UNTRAINED = re.compile(r"(?P<base>.+)-untrained(?:-(?P<seed>\d+))?")
HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "model*.safetensors"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
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
    text = config.get("text_config")
    for settings in (config, text if isinstance(text, dict) else {}):
        for key in LAYER_KEYS:
            if key in settings:
                if type(settings[key]) is not int or settings[key] < 1:
                    raise LoadError(
                        f"{folder / 'config.json'}: {key} is {ascii(settings[key])[:60]}; a whole number of at least 1 "
                        "is needed"
                    )
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
    folder = user_path(text)
    if folder.exists():
        try:
            check_utf8(folder)
        except ValueError as error:
            raise LoadError(str(error)) from None
        if reason := why_not_a_checkpoint(folder):
            raise LoadError(reason)
        return folder
    if HUB_ID.fullmatch(text) and not text.startswith("."):
        return _from_hub(text, files)
    raise LoadError(_unknown(text))


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a checkpoint folder.

    Raises:
        LoadError: it is missing, is not JSON, or names no model_type.
    """
    path = folder / "config.json"
    if not path.exists() and not path.is_symlink():
        raise LoadError(f"{folder} is not a checkpoint: config.json is missing")
    try:
        config = read_json(path)
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise LoadError(f"{path} cannot be read: {_first_line(error)}") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise LoadError(f"{path} names no model_type; a Hugging Face model configuration is needed")
    return config


def load_parts(name: str | Path) -> Parts:
    """Model, tokenizer and configuration of a trained checkpoint.

    Raises:
        LoadError: see `Subject.load`.
    """
    from lazarus_probe.checkpoints.checkpoint import load_checkpoint, load_tokenizer

    folder = find(name)
    read_config(folder)
    model, config = load_checkpoint(folder, check_files(folder))
    # A folder is known by its last part: reports must not depend on where it lies.
    local = str(name) not in _bundled_names() and user_path(name).is_dir()
    label = real_path(folder).name if local else str(name)
    return Parts(label, model, load_tokenizer(folder, config), config, folder)


def check_files(folder: Path) -> dict[str, TensorEntry]:
    """Whether the weights and the tokenizer are all there, and whole.

    Returns:
        The tensors of the weights by name.

    Raises:
        LoadError: a file is missing, truncated, damaged, no regular one or too large; the message names it.
    """
    from lazarus_probe.checkpoints.tokenizer_check import check_texts

    check_texts(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise LoadError(f"{folder} is not a checkpoint: tokenizer.json is missing")
    return weight_entries(folder)


def weight_entries(folder: Path) -> dict[str, TensorEntry]:
    """Every tensor of a checkpoint by name, as the headers of its files describe them.

    Raises:
        LoadError: a file of weights is missing, truncated or damaged; the message names it.
    """
    weights = sorted(folder.glob("model*.safetensors"))
    entries: dict[str, TensorEntry] = {}
    # mlx-lm reads all files of that name, whatever the index lists.
    listed = _indexed(folder)
    for path in dict.fromkeys([*listed, *weights]) or [folder / "model.safetensors"]:
        if not path.exists() and not path.is_symlink():
            which = f", which {INDEX} lists: a part of the weights; fetch it again" if listed else ""
            raise LoadError(f"{folder} is not a checkpoint: {path.name} is missing{which}")
        entries |= check_safetensors(path)
    return entries


def check_safetensors(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file, whose header is readable and announces as many bytes as there are.

    Raises:
        LoadError: it is none, truncated or damaged.
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
    twins = [f"{name}-untrained" for name in _bundled_names()]
    close = nearest(text, [*_bundled_names(), *twins])
    guess = f"did you mean {close}? " if close else ""
    return f"no model named {text!r}: {guess}{_known()}"


def _known() -> str:
    names = ", ".join(_bundled_names()) or "none"
    return (
        f"bundled are {names} (each also as NAME-untrained); else give a folder or a Hub id such as org/name"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
