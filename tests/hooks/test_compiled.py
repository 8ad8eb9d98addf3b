"""A compiled trace against the plain one."""

from __future__ import annotations

import gc

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_map

from lazarus_probe import Subject, hooked, trace
from lazarus_probe.hooks import HookError
from lazarus_probe.hooks.compiled import compiled
from lazarus_probe.interventions import zero

pytestmark = pytest.mark.usefixtures("compiling")
SITES = ["resid_post.0", "attn_out.1", "mlp_out.1", "pattern.0", "head_out.1.2"]
PROMPT = [1, 2, 3, 4, 5]


@pytest.fixture
def llama(make_llama) -> Subject:
    """One that a test may change."""
    return Subject.from_model(make_llama(num_key_value_heads=2, tie_word_embeddings=False))


def agree(found, wanted) -> bool:
    pairs = [(found.logits, wanted.logits), *((found[site], wanted[site]) for site in wanted.captures)]
    return all(bool(mx.allclose(one, other, rtol=1e-5, atol=1e-5)) for one, other in pairs)


@pytest.mark.parametrize("prompts", [PROMPT, PROMPT[:3], [PROMPT, PROMPT[::-1]]])
def test_it_equals_the_plain_trace(llama, prompts):
    """Logits and values are those of `trace`, for every shape of the prompts and at the second call too."""
    run = compiled(llama, SITES)
    run([9, 8, 7, 6])
    wanted = trace(llama, prompts, SITES)
    assert agree(run(prompts), wanted)
    assert agree(run(prompts), wanted)


def test_positions_are_those_asked_for(llama):
    """Only the positions asked for are kept."""
    run = compiled(llama, "resid_post.1", positions=[0, -1])
    wanted = trace(llama, PROMPT, "resid_post.1", positions=[0, -1])
    assert agree(run(PROMPT), wanted)


def test_changed_weights_are_seen(llama):
    """After an update the new weights are used, and after it is undone the old ones."""
    run, old = compiled(llama, SITES), llama.model.parameters()
    before = run(PROMPT)
    llama.model.update(tree_map(lambda weight: weight * 1.5, old))
    after = run(PROMPT)
    assert agree(after, trace(llama, PROMPT, SITES))
    assert not agree(after, before)
    llama.model.update(old)
    assert agree(run(PROMPT), before)


def test_a_weight_changed_in_place_is_seen(llama):
    """So is one of which only a part was assigned to."""
    run, weight = compiled(llama, SITES), llama.anatomy.blocks[0].mlp.down_proj.weight
    before = run(PROMPT)
    weight[0] = 3.0
    assert agree(run(PROMPT), trace(llama, PROMPT, SITES))
    assert not agree(run(PROMPT), before)


def test_hooks_of_others_are_refused(llama):
    """Inside `hooked` the compiled function would leave the edits out, so that it refuses to run."""
    run = compiled(llama, SITES)
    run(PROMPT)
    with (
        pytest.raises(HookError, match="call `compiled` again"),
        hooked(llama, interventions=zero("mlp_out.0")),
    ):
        run(PROMPT)


def test_hooks_are_not_compiled_in(llama):
    """Nor can it be made inside of `hooked`: the edits of one context would act in another."""
    with pytest.raises(HookError, match="has hooks on it"), hooked(llama, interventions=zero("mlp_out.0")):
        compiled(llama, SITES)


def test_another_module_is_refused(llama):
    """A module put in another's place is not run, and nobody is told otherwise."""
    run, mlp = compiled(llama, SITES), llama.anatomy.blocks[0].mlp
    old = mlp.down_proj
    mlp.down_proj = nn.Linear(*old.weight.shape[::-1], bias=False)
    with pytest.raises(HookError, match="not those it was compiled with"):
        run(PROMPT)
    mlp.down_proj = old
    assert agree(run(PROMPT), trace(llama, PROMPT, SITES))


def test_another_mode_is_refused(llama):
    """Dropout that was off when the model was compiled would stay off."""
    run = compiled(llama, SITES)
    llama.model.train(not llama.model.training)
    with pytest.raises(HookError, match="mode"):
        run(PROMPT)


def test_a_model_that_keeps_arrays_is_refused(llama):
    """What a model stores while it is traced would be no array anyone could read."""
    block = llama.anatomy.blocks[0]

    class Keeping(type(block)):
        def __call__(self, x, *args, **kwargs):
            self.last_seen = x
            return super().__call__(x, *args, **kwargs)

    block.__class__ = Keeping
    with pytest.raises(HookError, match="keeps arrays"):
        compiled(llama, SITES)(PROMPT)
    # What it kept is gone: the model still runs.
    assert trace(llama, PROMPT).logits.shape[1] == len(PROMPT)


def test_nothing_is_left_behind(llama):
    """Functions that are dropped give back their memory."""
    compiled(llama, SITES)(PROMPT)
    gc.collect()
    before = mx.get_active_memory()
    for _ in range(20):
        compiled(llama, SITES)(PROMPT)
    gc.collect()
    assert mx.get_active_memory() <= before + 4096


def test_the_bundled_model_too():
    """On the bundled model, all sites of all blocks agree."""
    organism = Subject.load("organism")
    sites = [f"{kind}.{layer}" for layer in range(8) for kind in ("resid_post", "attn_out", "mlp_out")]
    prompt = "12 * 7 ="
    assert agree(compiled(organism, sites)(prompt), trace(organism, prompt, sites))
