"""The models that are on this machine: bundled ones, those in packages, and what other programs have fetched.

Folders of other programs are only looked into, and no file of weights is read beyond the first part of its header.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.ollama import ollama_models
from lazarus_probe.checkpoints.packages import PACKAGES, installed_file
from lazarus_probe.files.paths import user_path
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.organisms import bundled

LM_STUDIO = ("~/.lmstudio/models", "~/.cache/lm-studio/models")
MOST_MODELS = 1_000  # of one program
MOST_FILES = 10_000  # that are looked at in one folder
FIRST_PART = "-00001-of-"


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    Attributes:
        name: to give as the model.
        source: bundled, package, hub, lmstudio or ollama.
        path: of its folder or file.
        size: of its weights in bytes.
        architecture: by its configuration, or the header of its GGUF file; None where neither can be read.
    """

    name: str
    source: str
    path: Path
    size: int
    architecture: str | None


def local_models() -> list[LocalModel]:
    """All models that are found, those of each source by name."""
    return [*_bundled(), *_of_packages(), *_of_the_hub(), *_of_lm_studio(), *_of_ollama()]


def hub_folder() -> Path:
    """Where the Hub's client keeps what it has fetched."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return user_path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _bundled() -> Iterator[LocalModel]:
    for name in bundled.names():
        yield _of_folder(name, "bundled", bundled.path(name))


def _of_packages() -> Iterator[LocalModel]:
    for name in PACKAGES:
        if path := installed_file(name):
            yield _of_file(name, "package", path)


def _of_the_hub() -> Iterator[LocalModel]:
    for folder in _inside(hub_folder(), "models--*--*/snapshots/*"):
        owner, _, name = folder.parts[-3].removeprefix("models--").partition("--")
        if any(folder.glob("model*.safetensors")):
            yield _of_folder(f"{owner}/{name}", "hub", folder)
        for path in _files(folder):
            yield _of_file(str(path), "hub", path)


def _of_lm_studio() -> Iterator[LocalModel]:
    for root in map(user_path, LM_STUDIO):
        for folder in _inside(root, "*/*"):
            if any(folder.glob("model*.safetensors")):
                yield _of_folder(str(folder), "lmstudio", folder)
            for path in _files(folder):
                yield _of_file(str(path), "lmstudio", path)


def _of_ollama() -> Iterator[LocalModel]:
    for name, path in ollama_models():
        yield _of_file(name, "ollama", path)


def _inside(root: Path, pattern: str) -> list[Path]:
    try:
        paths = islice(root.glob(pattern), MOST_FILES)
        return sorted(path for path in paths if path.is_dir())[:MOST_MODELS]
    except OSError:
        return []


def _files(folder: Path) -> list[Path]:
    """The GGUF files of a folder; of a model in parts the first, and no encoders of images (mmproj)."""
    paths = sorted(islice(folder.glob("*.gguf"), MOST_MODELS))
    return [
        path
        for path in paths
        if not path.name.startswith("mmproj") and ("-of-" not in path.name or FIRST_PART in path.name)
    ]


def _of_folder(name: str, source: str, folder: Path) -> LocalModel:
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        config = None
    kind = config.get("model_type") if isinstance(config, dict) else None
    size = sum(_size(path) for path in islice(folder.glob("model*.safetensors"), MOST_FILES))
    return LocalModel(name, source, folder, size, kind if isinstance(kind, str) else None)


def _of_file(name: str, source: str, path: Path) -> LocalModel:
    from lazarus_probe.checkpoints.gguf.reader import architecture_in, part_paths

    size = sum(map(_size, part_paths(path)[:MOST_MODELS]))
    try:
        return LocalModel(name, source, path, size, architecture_in(path))
    except LoadError:
        return LocalModel(name, source, path, size, None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
