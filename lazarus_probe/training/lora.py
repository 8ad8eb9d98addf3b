"""LoRA on a subject's projections, built on mlx-lm's layers, that leaves no trace when it is taken off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx
from mlx.utils import tree_flatten

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@contextmanager
def attached(
    subject: Subject, targets: Sequence[str], rank: int = 16, scale: float = 2.0, seed: int = 0
) -> Iterator[Any]:
    """The subject's model with LoRA on the named projections of every block, everything else frozen.

    Hu et al. 2021. `lora_a` is drawn from `seed` alone and `lora_b` is zero, so nothing changes before the first step.
    On leaving, however that happens, the original projections are back and the model trains what it trained before.

    Args:
        subject: the model.
        targets: attribute names of linear layers in the attention or the MLP, as in `["v_proj", "o_proj"]`.
        rank: of each update.
        scale: what the update is multiplied by.
        seed: of `lora_a`.

    Yields:
        The model, whose trainable parameters are the LoRA matrices.

    Raises:
        ValueError: a target that no block has, or a rank below 1.
    """
    from mlx_lm.tuner.lora import LoRALinear

    if rank < 1:
        raise ValueError(f"rank is {rank}; at least 1 is needed")
    model = subject.model
    places = [(parent, name) for block in subject.anatomy.blocks for parent, name in _places(block, targets)]
    originals = [(parent, name, parent[name]) for parent, name in places]
    trainable = {name for name, _ in tree_flatten(model.trainable_parameters())}
    keys = mx.random.split(mx.random.key(seed), len(places))
    try:
        model.freeze()
        for (parent, name, linear), key in zip(originals, keys, strict=True):
            layer = LoRALinear.from_base(linear, r=rank, scale=scale)
            bound = layer.lora_a.shape[0] ** -0.5
            layer.lora_a = mx.random.uniform(-bound, bound, layer.lora_a.shape, key=key)
            parent[name] = layer
        yield model
    finally:
        for parent, name, linear in originals:
            parent[name] = linear
        model.freeze()
        _unfreeze(model, trainable)


def _places(block: Any, targets: Sequence[str]) -> list[tuple[Any, str]]:
    """(module, attribute) of each target within one block."""
    parents = [block.self_attn, block.mlp]
    found = [(parent, name) for name in targets for parent in parents if name in parent]
    missing = set(targets) - {name for _, name in found}
    if missing or not targets:
        known = sorted(name for parent in parents for name in parent.children() if name.endswith("_proj"))
        raise ValueError(
            f"no projection is named {', '.join(sorted(missing)) or '(none given)'}; there are {known}"
        )
    return found


def _unfreeze(model: Any, names: set[str]) -> None:
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        own = [key for key in module if f"{prefix}{key}" in names]
        if own:
            module.unfreeze(recurse=False, keys=own)


def trainable_count(model: Any) -> int:
    """How many numbers are trained."""
    return sum(value.size for _, value in tree_flatten(model.trainable_parameters()))
