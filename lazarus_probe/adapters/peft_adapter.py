"""Reading LoRA as the peft library saves it: `adapter_model.safetensors` with `adapter_config.json`.

A projection returns `x W^T + scale (x A^T) B^T`, A (rank, inputs) and B (outputs, rank); scale is alpha / rank, or
alpha / sqrt(rank). Whether the base keeps W the other way round (`fan_in_fan_out`) changes nothing in that product.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from lazarus_probe.adapters.peft_settings import MERGE, PeftSettings
from lazarus_probe.anatomy.projections import LoraMatrices, Projection, projections, sizes
from lazarus_probe.checkpoints.checkpoint import or_load_error
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.formats import PEFT_WEIGHTS

if TYPE_CHECKING:
    from lazarus_probe.anatomy.loaded_model import LoadedModel

KEY = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<matrix>[AB])\.weight")
# A module of a block: whatever the model calls the list of its blocks, the number in it, and the path within.
IN_A_BLOCK = re.compile(r"(?P<list>(?:[^.\d][^.]*\.)+)(?P<number>\d+)\.(?P<path>.+)")
# Other tensors that peft saves, and what they belong to.
OTHERS = {
    "lora_magnitude_vector": "DoRA",
    "lora_embedding": "LoRA on an embedding",
    "modules_to_save": "a whole module",
    "base_layer": "a weight of the base",
    "lora_bias": "a bias",
    ".bias": "a bias",
}

Place = tuple[int, str]


def read_peft(subject: LoadedModel, folder: Path, settings: PeftSettings) -> list[LoraMatrices]:
    """The matrices of a folder, each with the projection of the model that it belongs to.

    Raises:
        LoadError: a tensor that is no LoRA of a linear layer in a block, of another shape, not finite, missing, or of
            a module that the settings do not name; the message names file and tensor.
    """
    path = folder / PEFT_WEIGHTS
    weights = or_load_error(f"{path} cannot be read", partial(mx.load, str(path)))
    if not weights:
        raise LoadError(f"{path} holds no matrices")
    pairs: dict[str, dict[str, mx.array]] = {}
    for key, weight in weights.items():
        match = KEY.fullmatch(key)
        if match is None:
            kind = next((kind_name for part, kind_name in OTHERS.items() if part in key), "no matrix of LoRA")
            raise LoadError(
                f"{path}: {key} is {kind}, and only LoRA on linear layers of blocks is loaded; {MERGE}"
            )
        pairs.setdefault(match["module"], {})[match["matrix"]] = weight
    projections_by_path = _modules(subject)
    on = [
        _matrices(path, subject, settings, projections_by_path, module, pair)
        for module, pair in pairs.items()
    ]
    _check_complete(path, settings, projections_by_path, pairs)
    return on


def _modules(subject: LoadedModel) -> dict[Place, Projection]:
    """The projections of a model by the number of their block and their path in it, as in the model's own names."""
    paths = {id(module): path for path, module in subject.model.named_modules()}
    by_path: dict[Place, Projection] = {}
    for projection in projections(subject.anatomy):
        match = IN_A_BLOCK.fullmatch(f"{paths[id(projection.block)]}.{projection.path}")
        if match is not None:
            by_path[int(match["number"]), match["path"]] = projection
    return by_path


def _matrices(
    path: Path,
    subject: LoadedModel,
    settings: PeftSettings,
    by_path: dict[Place, Projection],
    module: str,
    pair: dict[str, mx.array],
) -> LoraMatrices:
    match = IN_A_BLOCK.fullmatch(module)
    if match is None:
        raise LoadError(
            f"{path}: {module} is no part of a block, and LoRA is loaded on linear layers of blocks only; {MERGE}"
        )
    projection = by_path.get((int(match["number"]), match["path"]))
    if projection is None:
        raise LoadError(
            f"{path}: {module} matches nothing in {subject.name}; {_alternatives(by_path, match)}"
        )
    if not settings.names(module):
        raise LoadError(
            f"{path}: {module} is none of the modules that target_modules in {settings.path.name} names"
        )
    experts, inputs, outputs = sizes(projection.module)
    if projection.module.weight.ndim == 3:
        raise LoadError(
            f"{path}: {module} is {experts} experts in one here, and peft's LoRA is of one; {MERGE}"
        )
    rank = settings.rank_of(module)
    for matrix, wanted in (("A", (rank, inputs)), ("B", (outputs, rank))):
        name = f"{module}.lora_{matrix}.weight"
        if matrix not in pair:
            raise LoadError(f"{path}: {name} is missing")
        if tuple(pair[matrix].shape) != wanted:
            raise LoadError(
                f"{path}: {name} is {tuple(pair[matrix].shape)}; {wanted} fits rank {rank} and {subject.name} (the "
                f"adapter is one of {settings.base})"
            )
        check_finite(path, name, pair[matrix])
    # In float32, as peft computes with them whatever they were saved in.
    a, b = (mx.contiguous(pair[matrix].astype(mx.float32).T) for matrix in "AB")
    return LoraMatrices(module, projection, a, b, settings.scale_of(module))


def check_finite(path: Path, name: str, weight: mx.array) -> None:
    """Whether a tensor of an adapter holds finite floating-point numbers.

    Raises:
        LoadError: it does not.
    """
    if not mx.issubdtype(weight.dtype, mx.floating):
        raise LoadError(f"{path}: {name} holds {weight.dtype}; floating-point numbers are needed")
    wrong = mx.sum(mx.logical_not(mx.isfinite(weight))).item()
    if wrong:
        raise LoadError(
            f"{path}: {name} holds numbers that are not finite (NaN or infinite): {wrong} of {weight.size}"
        )


def _alternatives(by_path: dict[Place, Projection], match: re.Match[str]) -> str:
    paths = sorted(path for number, path in by_path if number == int(match["number"]))
    if paths:
        return f"its block {match['number']} has {', '.join(paths)}"
    return f"its blocks are 0 to {max((number for number, _ in by_path), default=-1)}"


def _check_complete(
    path: Path,
    settings: PeftSettings,
    by_path: dict[Place, Projection],
    pairs: dict[str, dict[str, mx.array]],
) -> None:
    """Whether every module that the settings name has matrices: a file may have lost some."""
    if settings.targets is None:
        return
    before = next(match["list"] for module in pairs if (match := IN_A_BLOCK.fullmatch(module)))
    for number, within in by_path:
        module = f"{before}{number}.{within}"
        if settings.names(module) and module not in pairs:
            raise LoadError(f"{path}: {module} has no matrices, which {settings.path.name} asks for")
