"""Outputs are replaced at every position, by rows that are gathered and drawn as they say."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.ablation.components import LinearLayer, output_shape, outputs_of
from lazarus_probe.introspection.ablation.config import AblationType, ComponentType
from lazarus_probe.introspection.ablation.methods import (
    ablated,
    ablated_completions,
    gaussian,
    random_coordinates,
    random_masks,
    reference_rows,
    replacement,
)
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy
from tests.architectures.zoo import build, random_tokens

TOKENS = mx.array([[5, 9, 3, 17, 4, 30, 8]])
REFERENCE = [[5, 9, 3, 17], [8, 1, 40, 22, 7]]
PROMPTS = ["12 + 3 =", "7 * 12 =", "car a cab", "1 + 1 ="]
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


def ablated_logits(
    subject: Subject, component: str, method: str, layer: int = 1, tokens: mx.array = TOKENS
) -> np.ndarray:
    """Logits of a run without a component of one layer."""
    outputs = outputs_of(subject, ComponentType(component), layer)
    rows = reference_rows(subject, REFERENCE, outputs)
    with ablated(subject, {output: replacement(AblationType(method), rows[output]) for output in outputs}):
        return np.array(forward(subject.model, tokens).astype(mx.float32))


@pytest.mark.parametrize("component", list(ComponentType))
def test_zero_is_that_of_a_forward_written_out(grouped, naive, component):
    """Without a component the logits are those of a hand-written forward in which its output is zero."""
    names = [f"{kind}.1" for kind in ZEROED[component]]
    expected = naive(grouped.model, TOKENS, lambda name, value: value * (name not in names))["logits"]
    np.testing.assert_allclose(ablated_logits(grouped, component, "zero"), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("component", ["mlp", "attention", "attn_q", "attn_v"])
def test_mean_is_that_of_a_forward_written_out(grouped, naive, component):
    """The mean put in is that of the reference prompts without their first tokens, head by head."""
    kind = ZEROED[component][0]
    runs = [naive(grouped.model, [ids])[f"{kind}.1"][0, 1:] for ids in REFERENCE]
    average = np.concatenate(runs).mean(axis=0)

    def edit(name, value):
        return np.broadcast_to(average, value.shape) if name == f"{kind}.1" else value

    expected = naive(grouped.model, TOKENS, edit)["logits"]
    np.testing.assert_allclose(ablated_logits(grouped, component, "mean"), expected, rtol=1e-3, atol=1e-3)


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
            outputs_of(subject, component, 1)
        return
    logits = [ablated_logits(subject, component, method, tokens=tokens) for method in AblationType]
    for i, one in enumerate(logits):
        assert np.abs(one - plain).max() > 1e-4 * np.abs(plain).max()
        for other in logits[:i]:
            assert not np.array_equal(one, other) or component in ("attn_q", "attn_k")
    np.testing.assert_array_equal(np.array(forward(subject.model, tokens).astype(mx.float32)), plain)


def test_rows_are_those_of_a_forward_written_out(grouped, naive):
    """Reference rows are the values at all positions but the first, prompts by length, also of linear layers."""
    outputs = [Site("mlp_out", 0), LinearLayer(0, "mlp.gate_proj"), Site("keys", 2)]
    rows = reference_rows(grouped, REFERENCE, outputs)
    for output, kind in ((outputs[0], "mlp_out.0"), (outputs[2], "keys.2")):
        expected = np.concatenate([naive(grouped.model, [ids])[kind][0, 1:] for ids in REFERENCE])
        np.testing.assert_allclose(rows[output], expected, rtol=1e-3, atol=1e-4)
    assert rows[outputs[1]].shape == (7, 48)
    for output in outputs:
        assert rows[output].shape[1:] == output_shape(grouped, output)
    with pytest.raises(ValueError, match="a single token each"):
        reference_rows(grouped, [[3], [4]], outputs)


def test_resampled_rows_are_reference_rows():
    """At every position stands one of the rows, the same for the same seed and others for another."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    first, again, other = (
        np.array(replacement(AblationType.RESAMPLE, rows, seed)(mx.zeros((2, 50, 3)))) for seed in (0, 0, 1)
    )
    assert {tuple(row) for row in first.reshape(-1, 3)} == {tuple(row) for row in rows}
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noise_has_the_moments_of_the_rows():
    """Gaussian rows have each coordinate's mean and deviation, and are no reference rows."""
    rows = np.random.default_rng(0).normal([1.0, -3.0], [0.5, 2.0], size=(400, 2)).astype(np.float32)
    drawn = gaussian(rows, 0)
    np.testing.assert_allclose(drawn.mean(axis=0), rows.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), rows.std(axis=0), rtol=0.15)
    assert not {tuple(row) for row in drawn} & {tuple(row) for row in rows}


def test_masks_have_the_requested_count():
    """Random masks have the count over all shapes, and another seed draws others."""
    masks, others = (random_masks([(8,), (2, 3)], 5, seed) for seed in (1, 2))
    assert [mask.shape for mask in masks] == [(8,), (2, 3)]
    assert sum(mask.sum() for mask in masks) == 5
    assert any(not np.array_equal(mask, other) for mask, other in zip(masks, others, strict=True))


def test_random_coordinates_are_as_many_as_requested(grouped):
    """Over all layers exactly `count` neurons change, each to its mean."""
    sites = [Site("neurons", layer) for layer in range(4)]
    rows = reference_rows(grouped, PROMPTS, sites)
    means = {site: replacement(AblationType.MEAN, rows[site]) for site in sites}
    edits = random_coordinates(means, [rows[site].shape[1:] for site in sites], 20, seed=1)
    changed = 0
    for site, edit in edits.items():
        value = mx.random.normal((2, 5, *rows[site].shape[1:]))
        now = np.array(edit(value))
        coordinates = (now != np.array(value)).any(axis=(0, 1))
        np.testing.assert_allclose(
            now[..., coordinates],
            np.broadcast_to(rows[site].mean(0)[coordinates], now[..., coordinates].shape),
            rtol=1e-5,
        )
        changed += int(coordinates.sum())
    assert changed == 20
    plain = trace(grouped, PROMPTS[0]).logits
    with ablated(grouped, edits):
        assert not mx.array_equal(plain, trace(grouped, PROMPTS[0]).logits)


def test_no_ablation_changes_no_completion(grouped):
    """Without edits the completions are the model's own."""
    assert ablated_completions(grouped, PROMPTS, {}, 4) == greedy(grouped, PROMPTS, 4)


def test_unknown_method_is_named():
    """A method that does not exist is refused with those that do."""
    message = r"'median'; did you mean mean[?] give one of mean, zero, resample, noise"
    with pytest.raises(ValueError, match=message):
        replacement("median", np.zeros((2, 3)))  # type: ignore[arg-type]
