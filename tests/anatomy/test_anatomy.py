"""Anatomy: what is found by watching a model run."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import pytest

from lazarus_probe.anatomy.anatomy import anatomy_of
from lazarus_probe.subject import UnsupportedArchitecture


def test_the_parts_of_a_llama_are_found(make_llama):
    """The modules are the model's own, and the sizes those of its weights."""
    model = make_llama(num_key_value_heads=2, head_dim=16)
    anatomy = anatomy_of(model)
    parts, heads = anatomy.parts[1], anatomy.parts[1].heads
    assert anatomy.num_layers == len(anatomy.blocks) == 4
    assert anatomy.blocks[2] is model.model.layers[2]
    assert anatomy.part("attention", 1) is model.model.layers[1].self_attn
    assert anatomy.part("o_proj", 1) is model.model.layers[1].self_attn.o_proj
    assert anatomy.part("down_proj", 3) is model.model.layers[3].mlp.down_proj
    assert anatomy.embedding is model.model.embed_tokens
    assert model.layers[0].self_attn.o_proj.weight.shape == (32, heads.num_heads * heads.value_dim)
    assert model.layers[0].self_attn.k_proj.weight.shape[0] == heads.num_kv_heads * heads.head_dim
    assert model.layers[0].mlp.down_proj.weight.shape[1] == parts.mlp_size == 48
    assert anatomy.embedding.weight.shape == (anatomy.vocab_size, anatomy.hidden_size)


def test_looking_computes_and_changes_nothing(make_llama):
    """After the look the classes are the model's own, and the logits those it had before."""
    model = make_llama()
    tokens = mx.array([[3, 5, 7]])
    before, classes = model(tokens), [type(module) for _, module in model.named_modules()]
    anatomy_of(model)
    assert [type(module) for _, module in model.named_modules()] == classes
    assert mx.array_equal(model(tokens), before)


def test_the_names_of_parts_do_not_matter(make_llama):
    """A projection under another name is found by what it does."""

    class Renamed(nn.Module):
        def __init__(self, mlp):
            super().__init__()
            self.first, self.gate, self.last = mlp.up_proj, mlp.gate_proj, mlp.down_proj

        def __call__(self, x):
            return self.last(nn.silu(self.gate(x)) * self.first(x))

    model = make_llama()
    model.layers[1].mlp = Renamed(model.layers[1].mlp)
    anatomy = anatomy_of(model)
    assert anatomy.parts[1].down_proj == "mlp.last"
    assert anatomy.parts[0].down_proj == "mlp.down_proj"


def test_an_adapter_is_part_of_the_projection_it_adapts(make_llama):
    """On a model that already has adapters the output projection is the adapter with the projection inside."""
    from mlx_lm.tuner.lora import LoRALinear

    model = make_llama()
    attention = model.layers[0].self_attn
    attention.o_proj = LoRALinear.from_base(attention.o_proj, r=2)
    anatomy = anatomy_of(model)
    assert anatomy.parts[0].o_proj == "self_attn.o_proj"
    assert isinstance(anatomy.part("o_proj", 0), LoRALinear)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_part_the_block_lacks_is_a_key_error(make_llama, layer):
    """Asking a dense block for its experts names the block."""
    with pytest.raises(KeyError, match=f"block {layer} has no experts"):
        anatomy_of(make_llama()).part("experts", layer)


class Looped(nn.Module):
    """Runs one block twice."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.layers = model, model.layers[:1]

    def __call__(self, tokens, **_):
        h = self.inner.model.embed_tokens(tokens)
        for _ in range(2):
            h = self.layers[0](h, "causal")
        return self.inner.lm_head(h)


def test_a_block_that_runs_twice_is_refused(make_llama):
    """A model that loops over its blocks has no one value a block, and is refused by name."""
    model = Looped(make_llama(tie_word_embeddings=False))
    with pytest.raises(UnsupportedArchitecture, match=r"layers.0 runs 2 times in one forward pass"):
        anatomy_of(model)


def test_a_model_without_blocks_is_refused(make_llama):
    """With an empty list of layers there is no residual stream to look at."""
    model = make_llama()
    model.layers.clear()
    with pytest.raises(UnsupportedArchitecture, match="Model has no layers; at least one block is needed"):
        anatomy_of(model)


def test_what_is_no_language_model_is_refused():
    """A module of another kind is refused before it is run."""
    with pytest.raises(UnsupportedArchitecture, match=r"Linear has no layers; a language model of mlx-lm"):
        anatomy_of(nn.Linear(2, 2))


def test_a_model_that_cannot_run_is_refused_with_the_reason(make_llama):
    """What the model's own code fails with, as without a GPU it needs, is told in one line."""
    model = make_llama()
    block = model.layers[1]

    class Metal(type(block)):
        def __call__(self, *_, **__):
            raise RuntimeError("[metal_kernel] No Metal\nback-end.")

    block.__class__ = Metal
    with pytest.raises(
        UnsupportedArchitecture, match=r"llama cannot run here: \[metal_kernel\] No Metal back-end"
    ):
        anatomy_of(model)
    assert type(block) is Metal
