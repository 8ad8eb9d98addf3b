"""From a name to a folder or a GGUF file: bundled models, paths, models in packages, Ollama's, Hugging Face Hub ids.

Importing this module imports neither mlx nor transformers, so that test collection can ask for a model's
layers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.formats import why_not_a_checkpoint
from lazarus_probe.checkpoints.ollama import ollama_file
from lazarus_probe.checkpoints.packages import PACKAGES, package_file
from lazarus_probe.files.paths import check_utf8, real_path, user_path
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.organisms import bundled
from lazarus_probe.spelling import nearest

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
UNTRAINED = re.compile(r"(?P<base>.+)-untrained(?:-(?P<seed>\d+))?")
HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "model*.safetensors"]
LAYER_KEYS = ("num_hidden_layers", "n_layers", "num_layers", "n_layer")


def num_layers_of(name: str | Path) -> int:
    """How many layers a model has, from its config.json or its GGUF file's header alone.

    Raises:
        LoadError: the name is unknown, or its configuration cannot be read or has no number of layers.

    Example:
        >>> from lazarus_probe.subject import num_layers_of
        >>> num_layers_of("organism")
        8
    """
    untrained = untrained_name(str(name))
    folder = find(untrained[0] if untrained else name, files=["config.json"])
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
    """The bundled model and the seed that `<bundled>-untrained[-<seed>]` names; None for other names."""
    match = UNTRAINED.fullmatch(name)
    if match and match["base"] in bundled.names() and name not in bundled.names():
        return match["base"], int(match["seed"] or 0)
    return None


def find(name: str | Path, files: list[str] = HUB_FILES) -> Path:
    """The folder or GGUF file of a named model; from the Hub, only `files` are fetched.

    Raises:
        LoadError: there is no such model.
    """
    text = str(name)
    if text in bundled.names():
        return bundled.path(text)
    if text in PACKAGES:
        return package_file(text)
    folder = user_path(text)
    if folder.exists():
        try:
            check_utf8(folder)
        except ValueError as error:
            raise LoadError(str(error)) from None
        if reason := why_not_a_checkpoint(folder):
            raise LoadError(reason)
        return folder
    if blob := ollama_file(text):
        return blob
    if HUB_ID.fullmatch(text) and not text.startswith("."):
        return _from_hub(text, files)
    raise LoadError(_unknown(text))


def is_path(name: str | Path) -> bool:
    """Whether a name is the path of a local folder or file, not another name of a model."""
    return str(name) not in (*bundled.names(), *PACKAGES) and user_path(name).exists()


def label_of(name: str | Path) -> str:
    """A model's name in reports: for a path its last part, so that reports do not depend on its location."""
    return real_path(name).name if is_path(name) else str(name)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint: the config.json of its folder, or what its GGUF file says.

    Raises:
        LoadError: it is missing, is not JSON, names no model_type, or the GGUF file is damaged or of an architecture
            that is not loaded.
    """
    if folder.is_file():
        from lazarus_probe.checkpoints.gguf.config import config_of
        from lazarus_probe.checkpoints.gguf.reader import read_gguf

        return config_of(read_gguf(folder))
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


def _from_hub(name: str, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{name} could not be fetched from the Hub ({_first_line(error)}); {_available()}"
        ) from None


def _unknown(text: str) -> str:
    untrained = [f"{name}-untrained" for name in bundled.names()]
    close = nearest(text, [*bundled.names(), *untrained, *PACKAGES])
    guess = f"did you mean {close}? " if close else ""
    return f"no model named {text!r}: {guess}{_available()}"


def _available() -> str:
    names = ", ".join(bundled.names()) or "none"
    return (
        f"bundled are {names} (each also as NAME-untrained); else give {', '.join(PACKAGES)}, a folder, a GGUF "
        "file, or a Hub id such as org/name"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
