"""Writing what training changed: in mlx-lm's format, and as `lora_weights.npz`.

`Subject.load(..., adapter)` reads both (`lazarus_probe.adapters.adapter` says what they hold), mlx-lm the first. Both
record what the adapter was trained on, so that it is refused on other weights. Every file is written aside and put in
place when all are whole: a full disk leaves those that were there before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from lazarus_probe.adapters.adapter import base_of, names_in
from lazarus_probe.anatomy.projections import Projection, adapted, is_lora, rank_of
from lazarus_probe.checkpoints.formats import MLX_CONFIG, MLX_WEIGHTS, SEED_CONFIG, SEED_WEIGHTS
from lazarus_probe.files.weight_files import write_unfinished
from lazarus_probe.files.whole_files import whole_file

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def save_adapter(
    subject: Subject, folder: Path, *, base: str, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write `adapters.safetensors` and `adapter_config.json`, which mlx-lm loads as well.

    A model with LoRA is saved as all of its LoRA, whichever of it is trained, and nothing else; any other as the
    weights that are trained (mlx-lm's "full").

    Args:
        subject: the model, as trained.
        folder: where to; it is made.
        base: the name of the model that was trained, as `--model` takes it.
        extra: more entries of the configuration; those it needs come first.

    Returns:
        The folder.

    Raises:
        ValueError: nothing is trained, or its LoRA is of several ranks or scales, which this format cannot say.
        OSError: the files cannot be written.
    """
    places = _places(subject)
    if places:
        weights = {
            name: w for name, w in _parameters(subject) if name.rpartition(".")[2] in ("lora_a", "lora_b")
        }
        settings = {"fine_tune_type": "lora", **_mlx_settings(subject, places), "base": base_of(subject)}
    else:
        weights = dict(tree_flatten(subject.model.trainable_parameters()))
        if not weights:
            raise ValueError(f"{subject.name} has no LoRA and trains no weights; there is nothing to save")
        settings = {
            "fine_tune_type": "full",
            "num_layers": subject.num_layers,
            "base": base_of(subject, weights),
        }
    config = {**(extra or {}), "model": base, **settings}
    _write(
        folder,
        {
            MLX_WEIGHTS: lambda path: write_unfinished(path, weights, {"format": "mlx"}),
            MLX_CONFIG: lambda path: _write_json(path, config),
        },
    )
    return folder


def save_lora_weights(subject: Subject, folder: Path, config: Mapping[str, Any]) -> Path:
    """Write the LoRA of a model as `lora_weights.npz`, with `config.json`.

    A is (inputs, rank) and B (rank, outputs), each of the true size of its projection: under grouped-query attention
    `v_proj` has fewer outputs than inputs. Experts have a first axis. 16-bit matrices are kept as float32, and the
    configuration says so that they are read back as what they were.

    Args:
        subject: the model, as trained.
        folder: where to; it is made.
        config: entries of config.json, such as `model`, `classifier_layer`, `cls_weight`, `steps`, `final_accuracy`.
            `lora_rank` (one number, or one a target), `scale`, `targets`, `layers`, `dtype` and `base` are added.

    Returns:
        The folder.

    Raises:
        ValueError: there is no LoRA, or it is of several scales; the folder holds a model, whose config.json this
            would replace.
        OSError: the files cannot be written.
    """
    places = _places(subject)
    if not places:
        raise ValueError(f"{subject.name} has no LoRA to save; a full fine-tune is written by save_adapter")
    if (folder / "model.safetensors").exists():
        raise ValueError(f"{folder} holds a model, whose config.json would be lost; choose another folder")
    arrays: Any = _matrices(subject)
    settings = {
        "model": subject.name,
        **config,
        "lora_rank": _lora_rank(places),
        "scale": _only("scale", {place.module.scale for place in places}),
        "targets": sorted({_target(place) for place in places}),
        "layers": sorted({place.layer for place in places}),
        "dtype": _only(
            "dtype", {str(place.module.lora_a.dtype).removeprefix("mlx.core.") for place in places}
        ),
        "base": base_of(subject),
    }
    _write(
        folder,
        {
            SEED_WEIGHTS: lambda path: np.savez(path, **arrays),
            SEED_CONFIG: lambda path: _write_json(path, settings),
        },
    )
    return folder


def _places(subject: Subject) -> list[Projection]:
    places = adapted(subject.anatomy)
    for place in places:
        if is_lora(place.module.linear):
            raise ValueError(
                f"layer {place.layer} {place.path} has LoRA on LoRA; merge the first to save the second"
            )
    ours = {id(place.module) for place in places}
    for path, module in subject.model.named_modules():
        if "lora_a" in module and id(module) not in ours:
            raise ValueError(f"{path} is a {type(module).__name__}, which cannot be saved; merge it first")
    return places


def _parameters(subject: Subject) -> list[tuple[str, mx.array]]:
    return list(tree_flatten(subject.model.parameters()))


def _mlx_settings(subject: Subject, places: list[Projection]) -> dict[str, Any]:
    layers = [place.module for place in places]
    ranks = {rank_of(layer) for layer in layers}
    if len(ranks) > 1:
        raise ValueError(
            f"the LoRA is of ranks {sorted(ranks)} and mlx-lm's format has one rank; use lora_weights.npz"
        )
    num_layers, keys = _keys(subject, places)
    return {
        "num_layers": num_layers,
        "lora_parameters": {
            "rank": ranks.pop(),
            "scale": _only("scale", {layer.scale for layer in layers}),
            "dropout": max(_dropout(layer) for layer in layers),
            "keys": keys,
        },
    }


def _keys(subject: Subject, places: list[Projection]) -> tuple[int, list[str]]:
    """What makes mlx-lm convert exactly our projections.

    It converts what `keys` name within the last `num_layers` blocks, or in the whole model. So paths within a block
    are enough where ours are all that have them from some block on; else the paths in the whole model name ours.
    """
    ours = {id(place.module) for place in places}
    blocks = list(subject.model.layers)  # not `anatomy.blocks`: mlx-lm counts blocks that never run, too
    keys = {place.path for place in places}
    named = [
        {id(module) for path, module in block.named_modules() if path in keys}
        if hasattr(block, "named_modules")
        else ours
        for block in blocks
    ]
    first = next((index for index, ids in enumerate(named) if ids & ours), 0)
    if set().union(*named[first:]) == ours:
        return len(blocks) - first, sorted(keys)
    return len(blocks) - first, sorted(
        path for path, module in subject.model.named_modules() if id(module) in ours
    )


def _dropout(layer: Any) -> float:
    # mlx keeps the share that is left.
    return round(1 - layer.dropout._p_1, 9)


def _only(what: str, found: set[Any]) -> Any:
    if len(found) > 1:
        raise ValueError(f"the LoRA is of several {what}s ({sorted(found)}); one is needed to save it")
    return next(iter(found))


def _target(place: Projection) -> str:
    return place.path.rpartition(".")[2]


def _lora_rank(places: list[Projection]) -> int | dict[str, int]:
    ranks = {_target(place): rank_of(place.module) for place in places}
    values = set(ranks.values())
    return values.pop() if len(values) == 1 else ranks


def _matrices(subject: Subject) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for layer in range(subject.num_layers):
        for name, place in names_in(subject.anatomy, layer).items():
            module = place.module
            if "lora_a" in module:
                pair = (module.lora_a, module.lora_b)
                for matrix, value in zip("AB", pair, strict=True):
                    # The experts of mlx-lm have both matrices the other way round.
                    value = value.swapaxes(-1, -2) if value.ndim == 3 else value
                    found[f"layer_{layer}_{name}_{matrix}"] = np.array(value.astype(mx.float32))
    return found


def _write_json(path: Path, settings: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write(folder: Path, files: Mapping[str, Callable[[Path], object]]) -> None:
    """Write files that take their places together once all are whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, write in files.items():
            write(stack.enter_context(whole_file(folder / name)))
