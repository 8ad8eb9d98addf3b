"""Where in a model its mutants are changed: the weights of each block by what they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazarus_probe.anatomy.anatomy import at_path
from lazarus_probe.anatomy.parts import Heads

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Block:
    """The weights of a block by name; None where the block has no such weight of its own.

    Attributes:
        layer: its number.
        path: of the block, with a dot at the end.
        heads: sizes of its attention.
        hidden: neurons of its MLP.
        queries: (H * d, D), as are `keys` and `values` of the key and value heads.
        output: (D, H * d) from the heads to the stream.
        gate: (M, D), as is `up`.
        down: (D, M) from the neurons to the stream.
        norms: (D,) the weights of the norms before attention and before the MLP.
        linear: all weights of two axes.
    """

    layer: int
    path: str
    heads: Heads | None
    hidden: int | None
    queries: str | None
    keys: str | None
    values: str | None
    output: str | None
    gate: str | None
    up: str | None
    down: str | None
    norms: tuple[str | None, str | None]
    linear: tuple[str, ...]


def blocks(subject: Subject) -> tuple[Block, ...]:
    """The blocks of a model."""
    names = {id(module): path for path, module in subject.model.named_modules()}
    return tuple(_block(subject, layer, names) for layer in range(subject.num_layers))


def _block(subject: Subject, layer: int, names: dict[int, str]) -> Block:
    parts, module = subject.anatomy.parts[layer], subject.anatomy.blocks[layer]
    path = f"{names[id(module)]}."

    def within(part: str | None, name: str) -> str | None:
        """A weight of a part, if the part has it."""
        if part is None:
            return None
        there = at_path(module, part).get(name)
        weight = None if there is None else there.get("weight")
        return None if weight is None else f"{path}{part}.{name}.weight"

    def projection(part: str | None) -> str | None:
        return None if part is None or "weight" not in at_path(module, part) else f"{path}{part}.weight"

    linear = tuple(
        f"{path}{inner}.weight"
        for inner, leaf in module.named_modules()
        if inner and "weight" in leaf and leaf["weight"].ndim == 2
    )
    norm = "input_layernorm" if "input_layernorm" in module else None
    mid = "post_attention_layernorm" if parts.mid == "post_attention_layernorm" else None
    return Block(
        layer=layer,
        path=path,
        heads=parts.heads,
        hidden=parts.mlp_size,
        queries=within(parts.attention, "q_proj"),
        keys=within(parts.attention, "k_proj"),
        values=within(parts.attention, "v_proj"),
        output=projection(parts.o_proj),
        gate=within(parts.mlp, "gate_proj"),
        up=within(parts.mlp, "up_proj"),
        down=projection(parts.down_proj),
        norms=(norm and f"{path}{norm}.weight", mid and f"{path}{mid}.weight"),
        linear=linear,
    )
