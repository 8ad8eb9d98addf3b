"""Components by their published names: what stands in for their outputs is what the model then runs on."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.components import (
    AblationType,
    ComponentType,
    Inner,
    edit_of,
    gaussian,
    layers_with,
    masked,
    places_of,
    random_masks,
    replaced,
    rows_at,
    shape_of,
)
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import forward
from tests.architectures.zoo import build, random_tokens

TOKENS = mx.array([[5, 9, 3, 17, 4, 30, 8]])
REFERENCE = [[5, 9, 3, 17], [8, 1, 40, 22, 7]]
ZEROED = {
    "mlp": ["mlp_out"],
    "attention": ["attn_out"],
    "both": ["attn_out", "mlp_out"],
    "mlp_gate": ["neurons"],
    "mlp_up": ["neurons"],
    "mlp_down": ["mlp_out"],
    "attn_q": ["queries"],
    "attn_k": ["keys"],
    "attn_v": ["values"],
    "attn_o": ["attn_out"],
}
EXPERTS = {"mlp_gate", "mlp_up", "mlp_down"}


def ablated(
    subject: Subject, component: str, kind: str, layer: int = 1, tokens: mx.array = TOKENS
) -> np.ndarray:
    """Logits of a run without a component of one layer."""
    places = places_of(subject, ComponentType(component), layer)
    known = rows_at(subject, REFERENCE, places)
    with replaced(subject, {place: edit_of(AblationType(kind), known[place], 0) for place in places}):
        return np.array(forward(subject.model, tokens).astype(mx.float32))


@pytest.mark.parametrize("component", list(ComponentType))
def test_zero_is_that_of_a_forward_written_out(grouped, naive, component):
    """Without a component the logits are those of a hand-written forward in which its output is zero."""
    names = [f"{kind}.1" for kind in ZEROED[component]]
    expected = naive(grouped.model, TOKENS, lambda name, value: value * (name not in names))["logits"]
    np.testing.assert_allclose(ablated(grouped, component, "zero"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("component", ["mlp", "attention", "attn_q", "attn_v"])
def test_mean_is_that_of_a_forward_written_out(grouped, naive, component):
    """The mean put in is that of the reference prompts without their first tokens, head by head."""
    kind = ZEROED[component][0]
    runs = [naive(grouped.model, [ids])[f"{kind}.1"][0, 1:] for ids in REFERENCE]
    average = np.concatenate(runs).mean(axis=0)

    def edit(name, value):
        return np.broadcast_to(average, value.shape) if name == f"{kind}.1" else value

    expected = naive(grouped.model, TOKENS, edit)["logits"]
    np.testing.assert_allclose(ablated(grouped, component, "mean"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model", ["llama", "llama_4bit", "gpt_oss", "gemma3"])
@pytest.mark.parametrize("component", list(ComponentType))
def test_every_component_does_something_or_is_refused(model, component):
    """Each component and type changes the logits, on quantised models and mixtures too, or is refused by name."""
    subject, tokens = Subject.from_model(build(model)), random_tokens(length=6)
    plain = np.array(forward(subject.model, tokens).astype(mx.float32))
    if model == "gpt_oss" and component in EXPERTS:
        with pytest.raises(
            ValueError, match=f"component {component}: layer 1 .* is a mixture of experts; ablate mlp"
        ):
            places_of(subject, component, 1)
        return
    found = [ablated(subject, component, kind, tokens=tokens) for kind in AblationType]
    for i, logits in enumerate(found):
        assert np.abs(logits - plain).max() > 1e-4 * np.abs(plain).max()
        for other in found[:i]:
            assert not np.array_equal(logits, other) or component in ("attn_q", "attn_k")
    np.testing.assert_array_equal(np.array(forward(subject.model, tokens).astype(mx.float32)), plain)


@pytest.mark.parametrize(
    ("model", "component", "message"),
    [
        ("phi3", "mlp_gate", "cannot be told apart in layer 0.*mlp.gate_up_proj.*; ablate mlp"),
        ("mamba2", "attention", "layer 0 of model has no attn_out; it has"),
        ("mamba2", "mlp_up", "layer 0 of model has no MLP; ablate attention"),
        ("mamba2", "attn_k", "layer 0 of model has no keys"),
    ],
)
def test_what_a_model_does_not_have(model, component, message):
    """A component that a model does not have is refused with what it has."""
    with pytest.raises(ValueError, match=message):
        places_of(Subject.from_model(build(model)), ComponentType(component), 0)


def test_layers_that_have_a_component():
    """In a model of several kinds of block only some have attention; one without any says what it has."""
    jamba = Subject.from_model(build("jamba"))
    kinds = [any("self_attn" in name for name, _ in block.named_modules()) for block in jamba.anatomy.blocks]
    expected = [layer for layer, has in enumerate(kinds) if has]
    assert layers_with(jamba, ComponentType.ATTENTION) == expected
    assert 0 < len(expected) < jamba.num_layers
    with pytest.raises(ValueError, match="layer 0 of model has no attn_out"):
        layers_with(Subject.from_model(build("mamba2")), ComponentType.ATTENTION)


def test_rows_are_what_passes(grouped, naive):
    """Reference rows are the values at all positions but the first, prompts by length, also of inner projections."""
    places = [Site("mlp_out", 0), Inner(0, "mlp.gate_proj"), Site("keys", 2)]
    found = rows_at(grouped, REFERENCE, places)
    for place, kind in ((places[0], "mlp_out.0"), (places[2], "keys.2")):
        expected = np.concatenate([naive(grouped.model, [ids])[kind][0, 1:] for ids in REFERENCE])
        np.testing.assert_allclose(found[place], expected, rtol=1e-3, atol=1e-4)
    assert found[places[1]].shape == (7, 48)
    for place in places:
        assert found[place].shape[1:] == shape_of(grouped, place)
    with pytest.raises(ValueError, match="a single token each"):
        rows_at(grouped, [[3], [4]], places)


def test_resampled_rows_are_reference_rows():
    """At every position stands one of the rows, and another seed draws others."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    value = mx.zeros((2, 50, 3))
    found = np.array(edit_of(AblationType.RESAMPLE, rows, 0)(value))
    assert {tuple(row) for row in found.reshape(-1, 3)} == {tuple(row) for row in rows}
    other = np.array(edit_of(AblationType.RESAMPLE, rows, 1)(value))
    assert not np.array_equal(found, other)


def test_noise_has_the_moments_of_the_rows():
    """Gaussian rows have each coordinate's mean and deviation, and are no reference rows."""
    rows = np.random.default_rng(0).normal([1.0, -3.0], [0.5, 2.0], size=(400, 2)).astype(np.float32)
    found = gaussian(rows, 0)
    np.testing.assert_allclose(found.mean(axis=0), rows.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(found.std(axis=0), rows.std(axis=0), rtol=0.15)
    assert not {tuple(row) for row in found} & {tuple(row) for row in rows}


def test_masks_cover_as_much_as_asked():
    """Random masks have the count asked for over all shapes, and an edit acts nowhere else."""
    masks = random_masks([(8,), (2, 3)], 5, seed=1)
    assert [mask.shape for mask in masks] == [(8,), (2, 3)]
    assert sum(mask.sum() for mask in masks) == 5
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(masks, random_masks([(8,), (2, 3)], 5, seed=2), strict=True)
    )
    found = np.array(masked(mx.zeros_like, masks[0])(mx.ones((1, 2, 8))))
    np.testing.assert_array_equal(found, np.broadcast_to(~masks[0], (1, 2, 8)))
