"""Where the parts of a model are, found by the names its modules carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.nn as nn

PARTS_OF_A_BLOCK = ("input_layernorm", "mlp", "post_attention_layernorm", "self_attn")
PARTS_OF_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


class UnsupportedArchitecture(ValueError):  # noqa: N818 - the name says it
    """A model whose parts were not all found where a Llama has them."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The modules that sites refer to, and the sizes of what passes through them.

    `embedding`, `o_proj` and `down_proj` are read from the live model, so that adapters put in their place
    later (LoRA) are found.

    Attributes:
        model: the whole model, from token ids to logits.
        blocks: the transformer blocks in order, `num_layers` of them.
        attention: each block's attention module.
        mlp: each block's MLP module.
        num_heads: query heads in a block.
        num_kv_heads: key and value heads in a block; fewer than `num_heads` under grouped-query attention.
        head_dim: width of one head.
        hidden_size: width D of the residual stream.
        mlp_size: MLP neurons F in a block.
        vocab_size: width V of the logits.
    """

    model: nn.Module
    blocks: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    mlp: tuple[nn.Module, ...]
    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    mlp_size: int
    vocab_size: int

    @property
    def num_layers(self) -> int:
        """How many blocks the model has."""
        return len(self.blocks)

    @property
    def embedding(self) -> nn.Module:
        """The module that turns token ids into vectors."""
        return self.model.model.embed_tokens

    @property
    def o_proj(self) -> tuple[nn.Module, ...]:
        """Each block's projection from the heads to the residual stream."""
        return tuple(attention.o_proj for attention in self.attention)

    @property
    def down_proj(self) -> tuple[nn.Module, ...]:
        """Each block's projection from the MLP neurons to the residual stream."""
        return tuple(mlp.down_proj for mlp in self.mlp)


def anatomy_of(model: nn.Module) -> Anatomy:
    """Find the parts of a Llama-shaped model.

    Raises:
        UnsupportedArchitecture: a part was not found; the message says which, and what was there instead.
    """
    _require(model, ("args", "layers", "model"), "the model")
    _require(model.model, ("embed_tokens", "norm"), "model.model")
    blocks = tuple(model.layers)
    if not blocks:
        raise UnsupportedArchitecture("the model has no layers; at least one transformer block is needed")
    for layer, block in enumerate(blocks):
        _check_block(block, layer)
    attention = tuple(block.self_attn for block in blocks)
    num_heads = attention[0].n_heads
    args = model.args
    return Anatomy(
        model=model,
        blocks=blocks,
        attention=attention,
        mlp=tuple(block.mlp for block in blocks),
        num_heads=num_heads,
        num_kv_heads=attention[0].n_kv_heads,
        head_dim=getattr(args, "head_dim", None) or args.hidden_size // num_heads,
        hidden_size=args.hidden_size,
        mlp_size=args.intermediate_size,
        vocab_size=args.vocab_size,
    )


def _check_block(block: nn.Module, layer: int) -> None:
    # An extra norm or projection in the block would mean that the raw outputs of attention and MLP are not
    # what is added to the residual stream, so the children must be these and no others.
    found = tuple(sorted(block.children()))
    if found != PARTS_OF_A_BLOCK:
        raise UnsupportedArchitecture(
            f"{type(block).__name__} at layer {layer} has the parts {', '.join(found) or 'none'}; "
            f"a Llama block has {', '.join(PARTS_OF_A_BLOCK)}"
        )
    _require(block.self_attn, (*PARTS_OF_ATTENTION, "n_heads", "n_kv_heads"), f"self_attn at layer {layer}")
    _require(block.mlp, ("down_proj",), f"mlp at layer {layer}")


def _require(module: Any, names: tuple[str, ...], where: str) -> None:
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        found = ", ".join(sorted(module.children())) if isinstance(module, nn.Module) else "none"
        raise UnsupportedArchitecture(
            f"{where} ({type(module).__name__}) has no {', '.join(missing)}; its parts are {found}"
        )
