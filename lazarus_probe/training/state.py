"""The state for resuming a training bit for bit: trainable weights, optimizer, random state and step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path

from lazarus_probe.anatomy.random_state import random_key, set_random_key
from lazarus_probe.files.weight_files import write_arrays
from lazarus_probe.files.whole_files import make_folder
from lazarus_probe.subject.dealt import read_by_the_first

FILE = "state.safetensors"
Arrays = dict[str, mx.array]


def has_state(folder: Path) -> bool:
    """Whether a folder holds the saved state of a training."""
    return (folder / FILE).exists()


def state_step(folder: Path) -> int:
    """The step that a training would resume from; 0 for a new training.

    Raises:
        ValueError: the state there cannot be read.
    """
    stored = _read_by_the_first(folder / FILE)
    return int(stored[1]["step"]) if stored else 0


def save_state(
    folder: Path, model: nn.Module, optimizer: Any, step: int, settings: str, extra: dict[str, Any]
) -> None:
    """Save a state atomically: the previous one is kept until the new one is complete.

    Args:
        folder: the state's folder, created if missing.
        model: the model, of which the trainable weights are saved.
        optimizer: the optimizer, of which the state is saved.
        step: updates made.
        settings: everything that determines the weights; a state is resumed with the same settings only.
        extra: additional values for JSON.

    Raises:
        OSError: it cannot be written, as on a full disk; the previous state is intact.
    """
    make_folder(folder)
    metadata = {"step": str(step), "settings": settings, "extra": json.dumps(extra)}
    write_arrays(folder / FILE, _arrays(model, optimizer), metadata)


def load_state(folder: Path, model: nn.Module, optimizer: Any, settings: str) -> tuple[int, dict[str, Any]]:
    """Load the state saved in a folder into model, optimizer and `mx.random`.

    Args:
        folder: the folder of `save_state`.
        model: with the same trainable weights as then.
        optimizer: of the same kind as then.
        settings: of the resumed training.

    Returns:
        The step and `extra`; 0 and an empty dict if there is no state.

    Raises:
        ValueError: the state has other settings or other weights, or cannot be read; nothing is changed in that case.
    """
    path = folder / FILE
    saved = _read_by_the_first(path)
    if saved is None:
        return 0, {}
    arrays, metadata = saved
    if metadata["settings"] != settings:
        raise ValueError(f"{path} is of other settings{_difference(metadata['settings'], settings)}; {_ELSE}")
    optimizer.init(model.trainable_parameters())
    _check_same(path, _arrays(model, optimizer), arrays)
    model.load_weights(_part(arrays, "model"), strict=False)
    stored = dict(_part(arrays, "optimizer"))
    optimizer.state = tree_map_with_path(lambda name, _: stored[name], optimizer.state)
    set_random_key(arrays["random.key"])
    return int(metadata["step"]), json.loads(metadata["extra"])


_ELSE = "train into another folder, or remove it"


def _arrays(model: nn.Module, optimizer: Any) -> Arrays:
    trees = {
        "model": model.trainable_parameters(),
        "optimizer": optimizer.state,
        "random": {"key": random_key()},
    }
    return {f"{part}.{name}": value for part, tree in trees.items() for name, value in tree_flatten(tree)}


def _part(arrays: Arrays, part: str) -> list[tuple[str, mx.array]]:
    start = f"{part}."
    return [(name.removeprefix(start), value) for name, value in arrays.items() if name.startswith(start)]


def _read_by_the_first(path: Path) -> tuple[Arrays, dict[str, str]] | None:
    """What is in a file, if it is there: for all processes of a run what the first one has."""
    return read_by_the_first(lambda: _read(path) if path.exists() else None)


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
        mx.eval(loaded[0])
    except RuntimeError:
        raise ValueError(f"{path} is damaged; remove it to begin again") from None
    arrays, metadata = loaded
    if not {"step", "settings", "extra"} <= metadata.keys():
        raise ValueError(f"{path} is not the state of a training; {_ELSE}")
    return arrays, metadata


def _check_same(path: Path, current: Arrays, stored: Arrays) -> None:
    for name in sorted(current.keys() | stored.keys()):
        if name not in current or name not in stored or current[name].shape != stored[name].shape:
            shapes = [
                tuple(arrays[name].shape) if name in arrays else "not there" for arrays in (stored, current)
            ]
            raise ValueError(
                f"{path} is of other weights: {name} is {shapes[0]} in it and {shapes[1]} here; {_ELSE}"
            )


def _difference(stored: str, current: str) -> str:
    """The first setting that differs, if both are JSON objects."""
    try:
        before, now = json.loads(stored), json.loads(current)
    except ValueError:
        return ""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return ""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f" ({names[0]} was {before.get(names[0])!r}, and is {now.get(names[0])!r})" if names else ""
