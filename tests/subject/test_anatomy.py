"""Anatomy: what is found on a Llama, and what is refused on anything else."""

from __future__ import annotations

import mlx.nn as nn
import pytest

from lazarus_probe.subject import UnsupportedArchitecture
from lazarus_probe.subject.anatomy import anatomy_of


def test_the_parts_of_a_llama_are_found(make_llama):
    """The modules are the model's own, and the sizes those of its weights."""
    model = make_llama(num_key_value_heads=2, head_dim=16)
    anatomy = anatomy_of(model)
    assert anatomy.num_layers == len(anatomy.blocks) == 4
    assert anatomy.blocks[2] is model.model.layers[2]
    assert anatomy.attention[1] is model.model.layers[1].self_attn
    assert anatomy.o_proj[1] is model.model.layers[1].self_attn.o_proj
    assert anatomy.down_proj[3] is model.model.layers[3].mlp.down_proj
    assert anatomy.embedding is model.model.embed_tokens
    assert anatomy.o_proj[0].weight.shape == (anatomy.hidden_size, anatomy.num_heads * anatomy.head_dim)
    assert anatomy.attention[0].k_proj.weight.shape[0] == anatomy.num_kv_heads * anatomy.head_dim
    assert anatomy.down_proj[0].weight.shape[1] == anatomy.mlp_size == 48
    assert anatomy.embedding.weight.shape == (anatomy.vocab_size, anatomy.hidden_size)


def test_a_block_with_other_parts_is_refused(make_llama):
    """A block with a further norm is refused by naming what it has and what a Llama has."""
    model = make_llama()
    model.layers[2].pre_feedforward_layernorm = nn.RMSNorm(32)
    message = "TransformerBlock at layer 2 has the parts .*pre_feedforward_layernorm.*; a Llama block has"
    with pytest.raises(UnsupportedArchitecture, match=message):
        anatomy_of(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda model: model.model.pop("embed_tokens"),
            r"model.model \(LlamaModel\) has no embed_tokens; its parts",
        ),
        (lambda model: model.layers[1].mlp.pop("down_proj"), r"mlp at layer 1 \(MLP\) has no down_proj"),
        (
            lambda model: model.layers[0].self_attn.pop("o_proj"),
            r"self_attn at layer 0 \(Attention\) has no o_proj",
        ),
        (lambda model: model.layers.clear(), "the model has no layers"),
    ],
)
def test_a_missing_part_is_named(make_llama, change, message):
    """A model without some part is refused by naming the part."""
    model = make_llama()
    change(model)
    with pytest.raises(UnsupportedArchitecture, match=message):
        anatomy_of(model)


def test_what_is_no_language_model_is_refused():
    """A module of another kind is refused by naming what it has."""
    with pytest.raises(UnsupportedArchitecture, match=r"the model \(Linear\) has no args, layers, model"):
        anatomy_of(nn.Linear(2, 2))
