"""Ablation replaces outputs, at every position of the prompt and of what is generated."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.ablation.ablate import ablate, ablate_neurons, answers, reference

PROMPTS = ["12 + 3 =", "7 * 12 =", "car a cab", "1 + 1 ="]
SITE = Site("mlp_out", 1)


def test_reference_is_every_position_but_the_first(grouped):
    """The reference rows are those of a plain trace, prompt by prompt, without the first token."""
    known = reference(grouped, PROMPTS, [SITE])[SITE].values
    rows = [np.array(trace(grouped, prompt, capture=SITE)[SITE])[0, 1:] for prompt in PROMPTS]
    assert len(known) == sum(map(len, rows))
    np.testing.assert_allclose(np.sort(known.sum(1)), np.sort(np.concatenate(rows).sum(1)), atol=1e-4)


def test_mean_ablation_is_the_naive_edit(grouped, naive):
    """Mean ablation of an MLP gives the logits of a hand-written forward with that mean in its place."""
    known = reference(grouped, PROMPTS, [SITE])[SITE]
    average = known.values.mean(axis=0)
    found = trace(grouped, PROMPTS[0], interventions=ablate(SITE, "mean", known))
    expected = naive(
        grouped.model,
        found.tokens,
        lambda name, value: np.broadcast_to(average, value.shape) if name == str(SITE) else value,
    )
    np.testing.assert_allclose(np.array(found.logits), expected["logits"], atol=2e-4)


def test_resampled_rows_are_reference_rows(grouped):
    """What resampling puts in are rows of the reference, the same for the same seed."""
    known = reference(grouped, PROMPTS, [SITE])[SITE]
    first, again = (
        trace(grouped, PROMPTS[0], SITE, ablate(SITE, "resample", known, seed=3))[SITE] for _ in range(2)
    )
    assert mx.array_equal(first, again)
    rows = np.array(first)[0]
    nearest = np.abs(rows[:, None] - known.values[None]).max(-1).min(1)
    assert nearest.max() == 0


def test_random_neurons_are_as_many_as_asked(grouped):
    """Over all layers exactly `count` neurons change, each to its mean."""
    sites = [Site("neurons", layer) for layer in range(4)]
    known = reference(grouped, PROMPTS, sites)
    edits = ablate_neurons(sites, 20, known, seed=1)
    plain, edited = (trace(grouped, PROMPTS[0], sites, each) for each in ((), edits))
    changed = 0
    for site, edit in zip(sites, edits, strict=True):
        value = mx.random.normal(plain[site].shape)
        now = np.array(edit.edit(value))
        places = (now != np.array(value)).any(axis=(0, 1))
        np.testing.assert_allclose(
            now[..., places],
            np.broadcast_to(known[site].values.mean(0)[places], now[..., places].shape),
            rtol=1e-5,
        )
        changed += int(places.sum())
    assert changed == 20
    assert not mx.array_equal(plain.logits, edited.logits)


def test_no_intervention_changes_no_answer(grouped):
    """Without interventions the answers are the model's own."""
    from lazarus_probe.subject.generate import greedy

    assert answers(grouped, PROMPTS, (), 4) == greedy(grouped, PROMPTS, 4)


def test_unknown_method_is_named(grouped):
    """A method that does not exist is refused with those that do."""
    known = reference(grouped, PROMPTS, [SITE])[SITE]
    with pytest.raises(ValueError, match=r"'median'; did you mean mean[?] give one of mean, resample, zero"):
        ablate(SITE, "median", known)  # type: ignore[arg-type]
