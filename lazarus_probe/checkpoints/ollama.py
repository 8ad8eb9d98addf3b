"""Ollama's models on this machine: their names, and the GGUF file that each stands for.

Ollama keeps a manifest for each name, a small JSON file that lists blobs by their hash; one of them is the model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.files.paths import user_path
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.reading import MIB
from lazarus_probe.files.whole_files import is_there

PART = r"[A-Za-z0-9][\w.-]{0,99}"
NAME = re.compile(rf"(?:(?:(?P<host>{PART})/)?(?P<owner>{PART})/)?(?P<model>{PART})(?::(?P<tag>{PART}))?")
DIGEST = re.compile(r"sha256:(?P<hex>[0-9a-f]{64})")
MODEL, ADAPTER = "application/vnd.ollama.image.model", "application/vnd.ollama.image.adapter"
HOST, OWNER, TAG = "registry.ollama.ai", "library", "latest"
MOST_MANIFEST = MIB
MOST_MODELS = 1_000


def ollama_folders() -> list[Path]:
    """The folders in which Ollama keeps models on this machine."""
    own = os.environ.get("OLLAMA_MODELS") or "~/.ollama/models"
    return [
        folder for folder in (user_path(own), Path("/usr/share/ollama/.ollama/models")) if is_there(folder)
    ]


def ollama_file(name: str) -> Path | None:
    """The file of one of Ollama's models by its name, as in `llama3.2:1b`; None where it has none of that name.

    A name with an owner and neither host nor tag is one of the Hub.

    Raises:
        LoadError: there is such a model, and its manifest or its file is damaged.
    """
    match = NAME.fullmatch(name)
    if match is None or (match["owner"] and not match["host"] and not match["tag"]):
        return None
    host, owner, tag = match["host"] or HOST, match["owner"] or OWNER, match["tag"] or TAG
    if owner == "hf.co" and not match["host"]:
        return None
    for folder in ollama_folders():
        manifest = folder / "manifests" / host / owner / match["model"] / tag
        if manifest.is_file():
            return _blob(folder, manifest)
    return None


def ollama_models() -> Iterator[tuple[str, Path]]:
    """Each of Ollama's models by name, with its file; manifests that are damaged are left out."""
    count = 0
    for folder in ollama_folders():
        for manifest in sorted((folder / "manifests").glob("*/*/*/*")):
            count += 1
            if count > MOST_MODELS:
                return
            host, owner, model, tag = manifest.parts[-4:]
            name = "/".join([*([] if host == HOST else [host]), *([] if owner == OWNER else [owner]), model])
            try:
                yield f"{name}:{tag}", _blob(folder, manifest)
            except LoadError:
                continue


def _blob(folder: Path, manifest: Path) -> Path:
    try:
        content = read_json(manifest, MOST_MANIFEST)
    except (OSError, ValueError) as error:
        raise LoadError(f"{manifest} cannot be read: {' '.join(str(error).split())[:200]}") from None
    layers: Any = content.get("layers") if isinstance(content, dict) else None
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise LoadError(f"{manifest}: layers is no list of objects")
    kinds = [layer.get("mediaType") for layer in layers]
    if MODEL not in kinds:
        raise LoadError(f"{manifest} names no model")
    if ADAPTER in kinds:
        raise LoadError(f"{manifest} names an adapter, which is not loaded; give the model that it is of")
    layer = layers[kinds.index(MODEL)]
    digest = DIGEST.fullmatch(str(layer.get("digest")))
    if digest is None:
        raise LoadError(f"{manifest}: digest is {ascii(layer.get('digest'))[:60]}; sha256:... is needed")
    path = folder / "blobs" / f"sha256-{digest['hex']}"
    if not path.is_file():
        raise LoadError(f"{manifest} names {path}, which is missing; pull the model again")
    return path
