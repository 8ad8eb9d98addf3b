"""LoRA that leaves no trace."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.subject.generate import forward
from lazarus_probe.training.lora import attached, trainable_count

TOKENS = mx.array([[0, 5, 9, 3, 7]])


def parameters(subject):
    return dict(tree_flatten(subject.model.parameters()))


def test_nothing_changes_before_the_first_step(grouped):
    """Fresh LoRA leaves the logits as they are, bit for bit."""
    plain = forward(grouped.model, TOKENS)
    with attached(grouped, ["v_proj", "o_proj"], rank=4):
        assert mx.array_equal(forward(grouped.model, TOKENS), plain)


def test_update_is_the_formula(grouped):
    """A projection with LoRA is `x W^T + scale (x A) B`."""
    block = grouped.model.layers[1].self_attn
    x = mx.random.normal((1, 3, 32), key=mx.random.key(0))
    plain = block.v_proj(x)
    with attached(grouped, ["v_proj"], rank=4, scale=3.0):
        layer = block.v_proj
        layer.lora_b = mx.random.normal(layer.lora_b.shape, key=mx.random.key(1))
        found = np.array(layer(x))
        expected = np.array(plain) + 3.0 * np.array(x) @ np.array(layer.lora_a) @ np.array(layer.lora_b)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def train_and_break(subject):
    with attached(subject, ["q_proj", "down_proj"], rank=2) as model:
        model.layers[0].self_attn.q_proj.lora_b = mx.ones((2, 32))
        raise RuntimeError("inside")


def test_leaves_no_trace(grouped):
    """After an exception inside, modules, weights and what was trainable are as before."""
    modules = [type(module) for _, module in grouped.model.named_modules()]
    before = {name: np.array(value) for name, value in parameters(grouped).items()}
    trainable = trainable_count(grouped.model)
    with pytest.raises(RuntimeError, match="inside"):
        train_and_break(grouped)
    assert [type(module) for _, module in grouped.model.named_modules()] == modules
    assert trainable_count(grouped.model) == trainable
    after = parameters(grouped)
    assert before.keys() == after.keys()
    assert all(np.array_equal(value, np.array(after[name])) for name, value in before.items())


def test_only_lora_is_trainable(grouped):
    """Inside, exactly the LoRA matrices are trained: rank times (inputs + outputs) for each projection."""
    with attached(grouped, ["v_proj", "o_proj"], rank=4) as model:
        names = [name for name, _ in tree_flatten(model.trainable_parameters())]
        assert all(".lora_" in name for name in names)
        # v: 32 -> 16 under grouped-query attention, o: 32 -> 32; four layers
        assert trainable_count(model) == 4 * 4 * ((32 + 16) + (32 + 32))


def test_arms_have_equal_size(grouped):
    """V/O and Q/K at one rank train equally many numbers, also under grouped-query attention."""
    sizes = []
    for targets in (["v_proj", "o_proj"], ["q_proj", "k_proj"]):
        with attached(grouped, targets, rank=4) as model:
            sizes.append(trainable_count(model))
    assert sizes[0] == sizes[1]


def test_seed_decides(grouped):
    """The same seed gives the same matrices and another seed others, whatever the global random state."""
    drawn = []
    for seed in (1, 1, 2):
        mx.random.normal((3,))
        with attached(grouped, ["v_proj"], rank=4, seed=seed) as model:
            drawn.append(np.array(model.layers[2].self_attn.v_proj.lora_a))
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("targets", [["w_proj"], []])
def test_unknown_target_is_named(grouped, targets):
    """A target that no block has is refused, with those there are."""
    with pytest.raises(ValueError, match=r"no projection is named .*'v_proj'"), attached(grouped, targets):
        pass
