"""Writing trained weights: in mlx-lm's format, and as `lora_weights.npz`.

`Subject.load(..., adapter)` reads both (`lazarus_probe.adapters.adapter` describes their contents), mlx-lm the first.
Both record the base weights, so that the adapter is refused on others. Files are written to temporary names and renamed
once all are complete: a full disk leaves the previous ones.
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
from lazarus_probe.files.whole_files import make_folder, whole_file

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def save_adapter(
    subject: Subject, folder: Path, *, base: str, extra: Mapping[str, Any] | None = None
) -> Path:
    """Write `adapters.safetensors` and `adapter_config.json`, which mlx-lm loads as well.

    For a model with LoRA all of its LoRA is saved, trainable or not, and nothing else; for any other model the
    trainable weights (mlx-lm's "full").

    Args:
        subject: the trained model.
        folder: the output folder, created if missing.
        base: the name of the base model, as `--model` takes it.
        extra: additional entries of the configuration, which cannot override the required ones.

    Returns:
        The folder.

    Raises:
        ValueError: nothing is trainable, or its LoRA has several ranks or scales, which this format cannot express.
        OSError: the files cannot be written.
    """
    projections = _projections(subject)
    if projections:
        weights = {
            name: w for name, w in _parameters(subject) if name.rpartition(".")[2] in ("lora_a", "lora_b")
        }
        settings = {"fine_tune_type": "lora", **_mlx_settings(subject, projections), "base": base_of(subject)}
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
    `v_proj` has fewer outputs than inputs. Experts have a leading axis. 16-bit matrices are stored as float32, and the
    configuration records their dtype, which is restored on reading.

    Args:
        subject: the trained model.
        folder: the output folder, created if missing.
        config: entries of config.json, such as `model`, `classifier_layer`, `cls_weight`, `steps`, `final_accuracy`.
            `lora_rank` (one number, or one per target), `scale`, `targets`, `layers`, `dtype` and `base` are added.

    Returns:
        The folder.

    Raises:
        ValueError: there is no LoRA, or it has several scales; or the folder holds a model, whose config.json would be
            overwritten.
        OSError: the files cannot be written.
    """
    projections = _projections(subject)
    if not projections:
        raise ValueError(f"{subject.name} has no LoRA to save; a full fine-tune is written by save_adapter")
    if (folder / "model.safetensors").exists():
        raise ValueError(f"{folder} holds a model, whose config.json would be lost; choose another folder")
    arrays: Any = _matrices(subject)
    settings = {
        "model": subject.name,
        **config,
        "lora_rank": _lora_rank(projections),
        "scale": _only("scale", {projection.module.scale for projection in projections}),
        "targets": sorted({_target(projection) for projection in projections}),
        "layers": sorted({projection.layer for projection in projections}),
        "dtype": _only(
            "dtype",
            {str(projection.module.lora_a.dtype).removeprefix("mlx.core.") for projection in projections},
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


def _projections(subject: Subject) -> list[Projection]:
    projections = adapted(subject.anatomy)
    for projection in projections:
        if is_lora(projection.module.linear):
            raise ValueError(
                f"layer {projection.layer} {projection.path} has LoRA on LoRA; merge the first to save the second"
            )
    ours = {id(projection.module) for projection in projections}
    for path, module in subject.model.named_modules():
        if "lora_a" in module and id(module) not in ours:
            raise ValueError(f"{path} is a {type(module).__name__}, which cannot be saved; merge it first")
    return projections


def _parameters(subject: Subject) -> list[tuple[str, mx.array]]:
    return list(tree_flatten(subject.model.parameters()))


def _mlx_settings(subject: Subject, projections: list[Projection]) -> dict[str, Any]:
    layers = [projection.module for projection in projections]
    ranks = {rank_of(layer) for layer in layers}
    if len(ranks) > 1:
        raise ValueError(
            f"the LoRA is of ranks {sorted(ranks)} and mlx-lm's format has one rank; use lora_weights.npz"
        )
    num_layers, keys = _keys(subject, projections)
    return {
        "num_layers": num_layers,
        "lora_parameters": {
            "rank": ranks.pop(),
            "scale": _only("scale", {layer.scale for layer in layers}),
            "dropout": max(_dropout(layer) for layer in layers),
            "keys": keys,
        },
    }


def _keys(subject: Subject, projections: list[Projection]) -> tuple[int, list[str]]:
    """The `num_layers` and `keys` with which mlx-lm converts exactly our projections.

    It converts the modules named by `keys` within the last `num_layers` blocks, or in the entire model. So paths within
    a block suffice if ours are all that have them from some block on; otherwise full paths are used.
    """
    ours = {id(projection.module) for projection in projections}
    blocks = list(subject.model.layers)  # not `anatomy.blocks`: mlx-lm counts blocks that never run, too
    keys = {projection.path for projection in projections}
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
    # mlx stores the share that is kept.
    return round(1 - layer.dropout._p_1, 9)


def _only(name: str, values: set[Any]) -> Any:
    if len(values) > 1:
        raise ValueError(f"the LoRA is of several {name}s ({sorted(values)}); one is needed to save it")
    return next(iter(values))


def _target(projection: Projection) -> str:
    return projection.path.rpartition(".")[2]


def _lora_rank(projections: list[Projection]) -> int | dict[str, int]:
    ranks = {_target(projection): rank_of(projection.module) for projection in projections}
    values = set(ranks.values())
    return values.pop() if len(values) == 1 else ranks


def _matrices(subject: Subject) -> dict[str, np.ndarray]:
    matrices: dict[str, np.ndarray] = {}
    for layer in range(subject.num_layers):
        for name, projection in names_in(subject.anatomy, layer).items():
            module = projection.module
            if "lora_a" in module:
                pair = (module.lora_a, module.lora_b)
                for matrix, value in zip("AB", pair, strict=True):
                    # mlx-lm's experts have both matrices transposed.
                    value = value.swapaxes(-1, -2) if value.ndim == 3 else value
                    matrices[f"layer_{layer}_{name}_{matrix}"] = np.array(value.astype(mx.float32))
    return matrices


def _write_json(path: Path, settings: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _write(folder: Path, files: Mapping[str, Callable[[Path], object]]) -> None:
    """Write files atomically as a group: they are renamed together once all are complete, or not at all."""
    make_folder(folder)
    with ExitStack() as stack:
        for name, write in files.items():
            write(stack.enter_context(whole_file(folder / name)))
