"""Reading adapters, in mlx-lm's format, as `lora_weights.npz` or as peft saves LoRA, onto a model.

mlx-lm's is `adapters.safetensors` with `adapter_config.json`: LoRA, DoRA, or whole weights ("full").
`lora_weights.npz` with `config.json` holds `layer_{i}_{name}_{A,B}`: A (inputs, rank) and B (rank, outputs), with a
first axis over experts where there are some, so that a projection returns `x W^T + scale (x A) B`. `name` is v, o, q,
k, gate, up or down for `v_proj` and so on; the last name of any other linear layer (`qkv_proj`); and the path in the
block where two have that name. `scale` of its config.json is 2.0 where it is not given.

A folder may hold both formats if they say the same. Where an adapter's settings say what it was trained on (`base`),
it is refused on a model of other weights; without `base` it is put on any that it fits.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from lazarus_probe.adapters.adapter_files import check_adapter, formats, read_settings
from lazarus_probe.adapters.peft_adapter import check_finite, read_peft
from lazarus_probe.adapters.peft_settings import finite_number, peft_settings
from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.projections import LoraMatrices, Projection, adapted, projections, sizes
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.checkpoints.checkpoint import or_load_error
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.formats import MLX_CONFIG, MLX_WEIGHTS, SEED_CONFIG, SEED_WEIGHTS
from lazarus_probe.files.arrays import read_arrays
from lazarus_probe.files.damage import DAMAGED
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.anatomy.loaded_model import LoadedModel

SHORT = ("v_proj", "o_proj", "q_proj", "k_proj", "gate_proj", "up_proj", "down_proj")
KINDS = ("lora", "dora", "full")
DEFAULT_SCALE = 2.0
KEY = re.compile(r"layer_(?P<layer>\d+)_(?P<name>.+)_(?P<matrix>[AB])")
LEAVES = ("lora_a", "lora_b", "m")
SAMPLE = 64  # numbers of each weight that tell models apart


def load_adapter(subject: LoadedModel, folder: Path) -> None:
    """Put the adapter of a folder on a model, in place, and the model in evaluation mode.

    Raises:
        LoadError: the folder is no adapter, a damaged one, or one of another model; the message names file and tensor.
    """
    check_adapter(folder)
    if adapted(subject.anatomy):
        raise LoadError(f"{subject.name} has LoRA already; merge it, or take it off, before loading {folder}")
    present = formats(folder)
    if "peft" in present:
        settings = peft_settings(folder / MLX_CONFIG, read_settings(folder / MLX_CONFIG))
        updates = read_peft(subject, folder, settings)
    else:
        updates = _read_npz(subject, folder) if "npz" in present else []
    if "mlx" in present:
        _put_mlx(subject, folder)
        _check_agreement(subject, updates, folder)
    else:
        for update in updates:
            update.put()
    subject.model.eval()
    or_load_error(f"the adapter in {folder} cannot be read", partial(mx.eval, subject.model.parameters()))


def names_in(anatomy: Anatomy, layer: int) -> dict[str, Projection]:
    """The linear layers of a block by the names that `lora_weights.npz` has for them."""
    named = projections(anatomy, [layer])
    counts = Counter(_short(projection.path) for projection in named)
    return {
        short if counts[short := _short(projection.path)] == 1 else projection.path: projection
        for projection in named
    }


def _short(path: str) -> str:
    last = path.rpartition(".")[2]
    if last in SHORT:
        return last.removesuffix("_proj")
    return path if f"{last}_proj" in SHORT or last.isdigit() else last


def weights_key(model: nn.Module, without: Collection[str] = ()) -> str:
    """A hash that tells a model's own weights from others: some numbers of each, but those named and those of LoRA.

    It is the same for 16-bit weights and for those cast to float32, as on the CPU.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(own_weights(model).items()):
        if name not in without:
            flat = weight.reshape(-1)
            some = flat[:: max(1, flat.size // SAMPLE)][:SAMPLE].astype(mx.float32)
            digest.update(f"{name} {tuple(weight.shape)} ".encode() + np.array(some).tobytes())
    return digest.hexdigest()


def own_weights(model: nn.Module) -> dict[str, mx.array]:
    """A model's weights without those of adapters, under the names that they have without them."""
    adapters = {path for path, module in model.named_modules() if "lora_a" in module}
    weights: dict[str, mx.array] = {}
    for name, weight in tree_flatten(model.parameters()):
        parts = name.split(".")
        path = next(
            (".".join(parts[:end]) for end in range(len(parts)) if ".".join(parts[:end]) in adapters), None
        )
        if path is None:
            weights[name] = weight
            continue
        rest = name.removeprefix(f"{path}.")
        while rest.startswith(("linear.", "embedding.")):  # more than once where LoRA is on LoRA
            rest = rest.partition(".")[2]
        if rest not in LEAVES:
            weights[f"{path}.{rest}"] = weight
    return weights


def base_of(subject: LoadedModel, without: Collection[str] = ()) -> dict[str, Any]:
    """What an adapter's settings say of the model it was trained on."""
    return {
        "model_type": subject.config.get("model_type"),
        "hidden_size": subject.anatomy.hidden_size,
        "num_layers": subject.num_layers,
        "weights": weights_key(subject.model, without),
    }


def _check_base(
    subject: LoadedModel, path: Path, settings: dict[str, Any], without: Collection[str] = ()
) -> None:
    recorded = settings.get("base")
    if not isinstance(recorded, dict):
        return
    ours = base_of(subject, without)
    name = settings.get("model", "another model")
    for key in ("model_type", "hidden_size", "num_layers"):
        if key in recorded and recorded[key] != ours[key]:
            raise LoadError(
                f"{path}: the adapter is one of {name}, whose {key} is {recorded[key]}; that of {subject.name} is "
                f"{ours[key]}"
            )
    if "weights" in recorded and recorded["weights"] != ours["weights"]:
        raise LoadError(
            f"{path}: the adapter was trained on other weights ({name}) than those of {subject.name}; load that model, "
            "or remove `base` from the file to put it on these"
        )


def _read_npz(subject: LoadedModel, folder: Path) -> list[LoraMatrices]:
    path = folder / SEED_WEIGHTS
    settings = read_settings(folder / SEED_CONFIG)
    _check_base(subject, folder / SEED_CONFIG, settings)
    scale = finite_number(folder / SEED_CONFIG, "scale", settings.get("scale", DEFAULT_SCALE))
    arrays = _arrays(path, str(settings.get("dtype", "")))
    if not arrays:
        raise LoadError(f"{path} holds no matrices")
    pairs: dict[tuple[int, str], dict[str, mx.array]] = {}
    for key, array in arrays.items():
        match = KEY.fullmatch(key)
        if match is None or int(match["layer"]) >= subject.num_layers:
            raise LoadError(
                f"{path}: {key} matches nothing; layer_{{i}}_{{name}}_{{A,B}} of layers 0 to "
                f"{subject.num_layers - 1} is needed"
            )
        pairs.setdefault((int(match["layer"]), match["name"]), {})[match["matrix"]] = array
    names = {layer: names_in(subject.anatomy, layer) for layer, _ in pairs}
    return [_update(path, names[layer], layer, name, pair, scale) for (layer, name), pair in pairs.items()]


def _arrays(path: Path, dtype: str) -> dict[str, mx.array]:
    kind = getattr(mx, dtype, None)
    weights: dict[str, mx.array] = {}
    try:
        for key, values in read_arrays(path).items():
            array = mx.array(values)
            check_finite(path, key, array)
            weights[key] = array.astype(kind) if isinstance(kind, mx.Dtype) else array
    except DAMAGED as error:
        if isinstance(error, LoadError):
            raise
        raise LoadError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return weights


def _update(
    path: Path, names: dict[str, Projection], layer: int, name: str, pair: dict[str, mx.array], scale: float
) -> LoraMatrices:
    key = f"layer_{layer}_{name}"
    if name not in names:
        raise LoadError(
            f"{path}: {key}_{next(iter(pair))} matches nothing; layer {layer} has {', '.join(sorted(names))}"
        )
    for matrix in "AB":
        if matrix not in pair:
            raise LoadError(f"{path}: {key}_{matrix} is missing")
    experts, inputs, outputs = sizes(names[name].module)
    lead = (experts,) if names[name].module.weight.ndim == 3 else ()
    rank = pair["A"].shape[-1] if pair["A"].ndim else 0
    if rank < 1 and pair["A"].ndim:
        raise LoadError(
            f"{path}: {key}_A is {tuple(pair['A'].shape)}, of rank 0; a rank of at least 1 is needed"
        )
    for matrix, wanted in (("A", (*lead, inputs, rank)), ("B", (*lead, rank, outputs))):
        if tuple(pair[matrix].shape) != wanted:
            raise LoadError(
                f"{path}: {key}_{matrix} is {tuple(pair[matrix].shape)}; {wanted} fits this model"
            )
    a, b = pair["A"], pair["B"]
    if lead:  # the experts of mlx-lm have both matrices the other way round
        a, b = (
            mx.contiguous(matrix.swapaxes(-1, -2)) for matrix in (a, b)
        )  # else products round differently
    return LoraMatrices(key, names[name], a, b, float(scale))


def _put_mlx(subject: LoadedModel, folder: Path) -> None:
    settings, path = read_settings(folder / MLX_CONFIG), folder / MLX_WEIGHTS
    kind = settings.get("fine_tune_type", "lora")
    if kind not in KINDS:
        raise LoadError(f"{folder / MLX_CONFIG}: fine_tune_type is {kind!r}; {one_of(str(kind), KINDS)}")
    weights: dict[str, mx.array] = or_load_error(f"{path} cannot be read", lambda: mx.load(str(path)))
    if not weights:
        raise LoadError(f"{path} holds no weights")
    _check_base(subject, folder / MLX_CONFIG, settings, weights if kind == "full" else ())
    for name, weight in weights.items():
        if kind != "full" or mx.issubdtype(weight.dtype, mx.floating):  # quantised weights are whole numbers
            check_finite(path, name, weight)
    if kind != "full":
        _check_parameters(folder / MLX_CONFIG, settings)
        or_load_error(
            f"{folder / MLX_CONFIG} cannot be put on the model", lambda: _convert(subject.model, settings)
        )
    parameters = dict(tree_flatten(subject.model.parameters()))
    allowed = (
        parameters
        if kind == "full"
        else {n: w for n, w in parameters.items() if n.rpartition(".")[2] in LEAVES}
    )
    for name, weight in weights.items():
        if name not in allowed:
            raise LoadError(f"{path}: {name} matches nothing in {subject.name}")
        if weight.shape != allowed[name].shape:
            raise LoadError(
                f"{path}: {name} is {tuple(weight.shape)}; {tuple(allowed[name].shape)} fits {subject.name}"
            )
    if kind != "full" and (missing := sorted(allowed.keys() - weights.keys())):
        raise LoadError(f"{path}: {missing[0]} is missing, which {MLX_CONFIG} asks for")
    subject.model.load_weights(list(weights.items()), strict=False)


def _check_parameters(path: Path, settings: dict[str, Any]) -> None:
    """Whether the parameters of LoRA that are given are of their kinds; those that are missing mlx-lm asks for."""
    layers, parameters = settings.get("num_layers", 0), settings.get("lora_parameters", {})
    if isinstance(layers, bool) or not isinstance(layers, int):
        raise LoadError(f"{path}: num_layers is {layers!r}; a whole number is needed")
    if not isinstance(parameters, dict):
        raise LoadError(
            f"{path}: lora_parameters is {parameters!r}; rank, scale and dropout are needed in it"
        )
    for key in parameters.keys() & {"scale", "dropout"}:
        finite_number(path, key, parameters[key])
    rank = parameters.get("rank", 1)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise LoadError(f"{path}: rank is {rank!r}; a whole number of at least 1 is needed")
    if not 0 <= parameters.get("dropout", 0) < 1:
        raise LoadError(
            f"{path}: dropout is {parameters['dropout']}; a share of at least 0 and below 1 is needed"
        )
    keys = parameters.get("keys")
    if keys is not None and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise LoadError(f"{path}: keys is {keys!r}; a list of the names of linear layers is needed")


def _convert(model: nn.Module, settings: dict[str, Any]) -> None:
    from mlx_lm.tuner.utils import linear_to_lora_layers

    for key in ("num_layers", "lora_parameters"):
        if key not in settings:
            raise LoadError(f"{key} is missing")
    use_dora = settings.get("fine_tune_type") == "dora"
    with random_state(0):
        linear_to_lora_layers(model, settings["num_layers"], settings["lora_parameters"], use_dora=use_dora)


def _check_agreement(subject: LoadedModel, updates: list[LoraMatrices], folder: Path) -> None:
    """Whether the matrices of `lora_weights.npz`, if there is one, are those now on the model."""
    if not updates:
        return
    on = {(projection.layer, projection.path): projection.module for projection in adapted(subject.anatomy)}
    for update in updates:
        layer = on.pop((update.place.layer, update.place.path), None)
        if layer is None or not (
            layer.scale == update.scale
            and mx.array_equal(layer.lora_a, update.lora_a).item()
            and mx.array_equal(layer.lora_b, update.lora_b).item()
        ):
            raise LoadError(
                f"{folder}: {update.name} of {SEED_WEIGHTS} is not what {MLX_WEIGHTS} holds; remove the one not meant"
            )
    if on:
        raise LoadError(f"{folder}: {MLX_WEIGHTS} has more than {SEED_WEIGHTS}; remove the one not meant")
