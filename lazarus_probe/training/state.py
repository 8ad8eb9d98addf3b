"""What a training goes on from, bit for bit: what is trained, the optimizer, the random state and the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map_with_path

from lazarus_probe.anatomy.random_state import random_key, set_random_key
from lazarus_probe.files.weight_files import write_arrays

FILE = "state.safetensors"
Arrays = dict[str, mx.array]


def has_state(folder: Path) -> bool:
    """Whether a training has left a state in a folder."""
    return (folder / FILE).exists()


def state_step(folder: Path) -> int:
    """The step that a training would go on from; 0 where it would begin.

    Raises:
        ValueError: the state there cannot be read.
    """
    return int(_read(folder / FILE)[1]["step"]) if has_state(folder) else 0


def save_state(
    folder: Path, model: nn.Module, optimizer: Any, step: int, settings: str, extra: dict[str, Any]
) -> None:
    """Keep a state; until it is wholly written the one before is kept.

    Args:
        folder: where; made if it is not there.
        model: its trainable weights are kept.
        optimizer: its state is kept.
        step: updates made.
        settings: all that decides the weights; a state is gone on from with the same only.
        extra: anything else, as JSON has it.

    Raises:
        OSError: it cannot be written, as on a full disk; the state before is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"step": str(step), "settings": settings, "extra": json.dumps(extra)}
    write_arrays(folder / FILE, _arrays(model, optimizer), metadata)


def load_state(folder: Path, model: nn.Module, optimizer: Any, settings: str) -> tuple[int, dict[str, Any]]:
    """Put the state kept in a folder on model, optimizer and `mx.random`.

    Args:
        folder: where `save_state` kept one.
        model: with the same trainable weights as then.
        optimizer: of the same kind as then.
        settings: those of the training that goes on.

    Returns:
        The step, and what was kept as `extra`; 0 and nothing where there is no state.

    Raises:
        ValueError: the state is of other settings or of other weights, or cannot be read. Nothing is changed then.
    """
    path = folder / FILE
    if not path.exists():
        return 0, {}
    arrays, metadata = _read(path)
    if metadata["settings"] != settings:
        raise ValueError(f"{path} is of other settings{_difference(metadata['settings'], settings)}; {_ELSE}")
    optimizer.init(model.trainable_parameters())
    _check_same(path, _arrays(model, optimizer), arrays)
    model.load_weights(_part(arrays, "model"), strict=False)
    kept = dict(_part(arrays, "optimizer"))
    optimizer.state = tree_map_with_path(lambda name, _: kept[name], optimizer.state)
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


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    try:
        loaded: Any = mx.load(str(path), return_metadata=True)
        mx.eval(loaded[0])
    except RuntimeError:
        raise ValueError(f"{path} is damaged; remove it to begin again") from None
    arrays, metadata = loaded
    if not {"step", "settings", "extra"} <= metadata.keys():
        raise ValueError(f"{path} is no state of a training; {_ELSE}")
    return arrays, metadata


def _check_same(path: Path, ours: Arrays, kept: Arrays) -> None:
    for name in sorted(ours.keys() | kept.keys()):
        if name not in ours or name not in kept or ours[name].shape != kept[name].shape:
            shapes = [tuple(each[name].shape) if name in each else "not there" for each in (kept, ours)]
            raise ValueError(
                f"{path} is of other weights: {name} is {shapes[0]} in it and {shapes[1]} here; {_ELSE}"
            )


def _difference(kept: str, given: str) -> str:
    """The first setting that differs, where both are JSON objects."""
    try:
        before, now = json.loads(kept), json.loads(given)
    except ValueError:
        return ""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return ""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return f" ({names[0]} was {before.get(names[0])!r}, and is {now.get(names[0])!r})" if names else ""
