"""The linear layers within a model's blocks, and LoRA in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.anatomy import Anatomy, at_path
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.anatomy.tensor_parallel import require_whole

if TYPE_CHECKING:
    from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear

# What model files call a projection that holds queries, keys and values, or the gate and what it gates.
FUSED = {
    ("q_proj", "k_proj", "v_proj"): (
        "qkv_proj",
        "q_k_v_proj",
        "query_key_value",
        "c_attn",
        "Wqkv",
        "wqkv",
        "W_pack",
        "in_proj_qkv",
        "in_proj_qkvz",
    ),
    ("k_proj", "v_proj"): ("kv_proj", "kv_b_proj"),
    ("gate_proj", "up_proj"): ("gate_up_proj", "input_linear"),
}


@dataclass(frozen=True, eq=False)
class Projection:
    """A linear layer of a block.

    Attributes:
        layer: the block it is in.
        block: that block.
        path: where it is in the block, as in `self_attn.v_proj`.
    """

    layer: int
    block: nn.Module
    path: str

    @property
    def module(self) -> Any:
        """What is there now: the linear layer, or its LoRA."""
        return at_path(self.block, self.path)

    def put(self, module: nn.Module) -> None:
        """Put another module in its place."""
        parent, _, name = self.path.rpartition(".")
        holder: Any = at_path(self.block, parent)
        holder[int(name) if isinstance(holder, list) else name] = module

    def matches(self, target: str) -> bool:
        """Whether a target names it: by its last names, list indices left out where they come last."""
        return any(
            path == target or path.endswith(f".{target}") for path in (self.path, _unnumbered(self.path))
        )


def projections(anatomy: Anatomy, layers: Iterable[int] | None = None) -> list[Projection]:
    """Every linear layer that LoRA can go on, those that have it included, in the order of the blocks.

    Raises:
        ValueError: this process holds only a part of them.
    """
    require_whole(anatomy.model, "what reads or changes linear layers")
    chosen = range(anatomy.num_layers) if layers is None else layers
    return [
        Projection(layer, anatomy.blocks[layer], path)
        for layer in chosen
        for path in _paths(anatomy.blocks[layer])
    ]


def adapted(anatomy: Anatomy) -> list[Projection]:
    """The projections that have LoRA now."""
    return [projection for projection in projections(anatomy) if is_lora(projection.module)]


def found(anatomy: Anatomy, targets: Sequence[str], layers: Sequence[int]) -> list[tuple[str, Projection]]:
    """What targets name in the chosen layers, each once: layer by layer, within one in the order of the targets.

    Raises:
        ValueError: a target names nothing there; the message says what there is, or which fused projection has it.
    """
    available = projections(anatomy, layers)
    named: dict[tuple[int, str], tuple[str, Projection]] = {}
    for layer in layers:
        for target in targets:
            for projection in available:
                if projection.layer == layer and projection.matches(target):
                    named.setdefault((layer, projection.path), (target, projection))
    missing = [
        target for target in targets if not any(projection.matches(target) for projection in available)
    ]
    if missing or not targets:
        raise ValueError(_refusal(anatomy, missing, available))
    return list(named.values())


def is_lora(module: Any) -> bool:
    """Whether a module is LoRA of mlx-lm on a linear layer or on the experts of a mixture."""
    return isinstance(module, _kinds()[1])


def bare(module: Any) -> Any:
    """The linear layer under LoRA, if there is LoRA."""
    while is_lora(module):
        module = module.linear
    return module


def sizes(module: Any) -> tuple[int, int, int]:
    """Experts (1 where it is no mixture), inputs and outputs of a projection, with LoRA or without."""
    linear = bare(module)
    if linear.weight.ndim == 3:
        return linear.num_experts, linear.input_dims, linear.output_dims
    outputs, inputs = linear.weight.shape
    return 1, inputs * 32 // linear.bits if isinstance(linear, nn.QuantizedLinear) else inputs, outputs


def with_lora(linear: Any, rank: int, scale: float, dropout: float) -> LoRALinear | LoRASwitchLinear:
    """mlx-lm's LoRA around a projection (with LoRA or without), in its mode of training.

    The global random state is left as it was found; `lora_a` is to be given, `lora_b` is zero.
    """
    from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear

    experts, inputs, outputs = sizes(linear)
    settings: dict[str, Any] = {"r": rank, "scale": scale, "dropout": dropout}
    layer: Any
    with random_state(0):
        if bare(linear).weight.ndim == 3:
            layer = LoRASwitchLinear(inputs, outputs, experts, **settings)
        else:
            layer = LoRALinear(inputs, outputs, **settings)
    layer.linear = linear
    for part in (layer, layer.dropout):
        part._training = linear.training  # `train` would reach into the linear layer, which is not ours
    return layer


@dataclass(frozen=True, eq=False)
class LoraMatrices:
    """The matrices of one projection, as the model keeps them.

    Attributes:
        name: what their file calls them.
        place: the projection.
        lora_a: (inputs, rank); of experts (experts, rank, inputs).
        lora_b: (rank, outputs); of experts (experts, outputs, rank).
        scale: what their product is multiplied by.
    """

    name: str
    place: Projection
    lora_a: mx.array
    lora_b: mx.array
    scale: float

    def put(self) -> None:
        """Put them on the model."""
        rank = self.lora_a.shape[1 if self.lora_a.ndim == 3 else -1]
        layer = with_lora(self.place.module, rank, self.scale, 0.0)
        layer.lora_a, layer.lora_b = self.lora_a, self.lora_b
        self.place.put(layer)


def rank_of(layer: Any) -> int:
    """The rank of a LoRA."""
    return int(layer.lora_a.shape[1 if layer.lora_a.ndim == 3 else -1])


def _kinds() -> tuple[tuple[type, ...], tuple[type, ...]]:
    """The linear layers that LoRA goes on, and the LoRA on them."""
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
    from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear

    return (nn.Linear, nn.QuantizedLinear, SwitchLinear, QuantizedSwitchLinear), (
        LoRALinear,
        LoRASwitchLinear,
    )


def _paths(block: nn.Module) -> list[str]:
    linear, lora = _kinds()
    # Some model files have linear layers that return several arrays; those bring an adapter of their own.
    plain = {
        path
        for path, module in block.named_modules()
        if isinstance(module, linear) and not hasattr(module, "to_lora")
    }
    adapters = {path for path, module in block.named_modules() if "lora_a" in module}
    ours = {path for path, module in block.named_modules() if isinstance(module, lora)}
    inside = {path for path in plain | ours if path.rpartition(".")[0] in adapters}
    return sorted((plain | ours) - inside)


def _unnumbered(path: str) -> str:
    names = path.split(".")
    while names and names[-1].isdigit():
        names.pop()
    return ".".join(names)


def _refusal(anatomy: Anatomy, missing: list[str], available: list[Projection]) -> str:
    for target in missing:
        if reason := _why(anatomy, target, available):
            return reason
    last_names = {_unnumbered(projection.path).rpartition(".")[2] for projection in available}
    requested = ", ".join(missing) or "(none given)"
    near = sorted(last_names, key=lambda name: (-max([0.0, *_likeness(name, missing)]), name))
    return f"no projection is named {requested}; there are {near}"


def _likeness(name: str, targets: list[str]) -> Iterator[float]:
    return (SequenceMatcher(None, name, target.rpartition(".")[2]).ratio() for target in targets)


def _why(anatomy: Anatomy, target: str, available: list[Projection]) -> str | None:
    """Why a name that does mean something cannot be a target."""
    elsewhere = sorted(
        {projection.layer for projection in projections(anatomy) if projection.matches(target)}
    )
    if elsewhere:
        return f"none of the chosen layers has {target}; layers {', '.join(map(str, elsewhere))} have"
    for path, module in anatomy.model.named_modules():
        if path == target or path.endswith(f".{target}"):
            if isinstance(module, nn.Embedding | nn.QuantizedEmbedding):
                return f"{target} is an embedding; LoRA goes on linear layers of the blocks"
            if isinstance(module, _kinds()[0]) and not hasattr(module, "to_lora"):
                return f"{target} is no part of a block; LoRA goes on linear layers of the blocks"
            return f"{target} is a {type(module).__name__}, which LoRA cannot go on; choose linear layers"
    for parts, wholes in FUSED.items():
        if target.rpartition(".")[2] in parts:
            for fused in available:
                if fused.path.rpartition(".")[2] in wholes:
                    return (
                        f"{target} is part of {fused.path} in this model; name that one, to train all of it"
                    )
    return None
