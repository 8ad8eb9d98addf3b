"""Differences of residual streams, against states read one prompt at a time."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.introspection.geometry.activation_difference import activation_difference
from lazarus_probe.subject.subject import Subject

PROMPTS = ["7*8=", "12 + 8=", "a cat"]


@pytest.fixture(scope="module")
def other(make_llama: Any, tokenizer: Any) -> Subject:
    """Another random model of the shape of `grouped`."""
    return Subject.from_model(
        make_llama(5, num_key_value_heads=2, tie_word_embeddings=False), tokenizer, name="other"
    )


@pytest.mark.parametrize("position", ["last", "all", 1, -2])
def test_numbers_are_those_of_the_states(grouped: Subject, other: Subject, position: Any):
    """Cosine, relative norm and KL are what NumPy makes of each prompt's states by themselves."""
    found = activation_difference(grouped, other, PROMPTS, position)
    for row, prompt in enumerate(PROMPTS):
        runs = [trace(one, prompt, [f"resid_post.{layer}" for layer in range(4)]) for one in (grouped, other)]
        place = {"last": slice(-1, None), "all": slice(None)}.get(position, [position])
        for layer in range(4):
            one, two = (np.array(run[f"resid_post.{layer}"][0], dtype=float)[place] for run in runs)
            cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
            assert found.similarities[row, layer] == pytest.approx(cosines.mean(), abs=1e-6)
            away = np.linalg.norm(two - one, axis=1) / np.linalg.norm(one, axis=1)
            assert found.relative_norms[row, layer] == pytest.approx(away.mean(), rel=1e-5)
        logs = [np.array(run.logits[0, -1], dtype=float) for run in runs]
        before, after = (each - np.logaddexp.reduce(each) for each in logs)
        assert found.kl[row] == pytest.approx((np.exp(before) * (before - after)).sum(), abs=1e-5)


def test_a_model_does_not_differ_from_itself(grouped: Subject):
    """All cosines are exactly 1 and all norms and KL exactly 0, with intervals that say so."""
    found = activation_difference(grouped, grouped, PROMPTS, "all")
    assert (found.similarities == 1).all()
    assert (found.relative_norms == 0).all()
    assert (found.kl == 0).all()
    assert all((row["divergence"], row["interval"]) == (0, [1, 1]) for row in found.as_data()["by_layer"])


def test_controls_give_a_scale(grouped: Subject, other: Subject):
    """Untrained models and other prompts are compared at every layer; one prompt alone has no interval and no other."""
    found = activation_difference(grouped, other, PROMPTS)
    assert set(found.controls) == {"untrained", "two_seeds", "other_prompt"}
    assert all(values.shape == (4,) and (np.abs(values) < 1).all() for values in found.controls.values())
    twin = grouped.untrained(1)
    expected = activation_difference(grouped, twin, PROMPTS).similarities.mean(axis=0)
    np.testing.assert_allclose(found.controls["untrained"], expected, atol=1e-9)
    assert not np.array_equal(
        activation_difference(grouped, other, PROMPTS, seed=3).controls["untrained"],
        found.controls["untrained"],
    )
    single = activation_difference(grouped, other, PROMPTS[:1])
    assert single.intervals is None
    assert set(single.controls) == {"untrained", "two_seeds"}
    data = found.as_data()
    assert len(data["results"]) == 12
    assert {"prompt", "layer", "cosine_similarity"} <= {*data["results"][0]}
    for row in data["by_layer"]:
        assert row["interval"][0] <= row["avg_cosine_similarity"] <= row["interval"][1]
    assert "<table>" in found._repr_html_()


def test_what_cannot_be_compared_is_refused(grouped: Subject, make_llama: Any, organism: Subject):
    """Other depths, widths and tokens are named with both values."""
    deeper = Subject.from_model(make_llama(num_hidden_layers=5), grouped.tokenizer, name="deeper")
    with pytest.raises(ValueError, match="layers is 4 in the first and 5 in the second"):
        activation_difference(grouped, deeper, PROMPTS)
    with pytest.raises(ValueError, match="cannot be compared"):
        activation_difference(grouped, organism, PROMPTS)
    with pytest.raises(IndexError, match="position 5 is out of range"):
        activation_difference(grouped, grouped, ["7*8="], 5)


def test_other_tokenizers_are_refused(grouped: Subject, make_llama: Any, tokenizer: Any):
    """Where a prompt has other tokens in the second model, states at a position would be of different texts."""

    class Reversed:
        """The tokenizer, reading texts from their end."""

        def __init__(self) -> None:
            self.bos_token = tokenizer.bos_token

        def encode(self, text: str, **settings: Any) -> list[int]:
            return list(tokenizer.encode(text[::-1], **settings))

    other = Subject.from_model(
        make_llama(num_key_value_heads=2, tie_word_embeddings=False), Reversed(), name="other"
    )
    with pytest.raises(ValueError, match=r"grouped and other have different tokens for '7\*8=' \(5 and 5\)"):
        activation_difference(grouped, other, ["7*8="])


def push(state: mx.array) -> mx.array:
    """One dimension out of proportion."""
    return mx.where(mx.arange(state.shape[-1]) == 5, 1e5, state)


@pytest.mark.parametrize(("position", "at"), [("all", [0]), ("last", "all")])
def test_outliers_are_left_out_of_both_models(grouped: Subject, other: Subject, position: Any, at: Any):
    """One huge dimension in common makes cosines 1: its position is no part of a mean, or else it is left out."""
    assert activation_difference(grouped, other, PROMPTS, position).notes() == []
    edit = Intervention("resid_post.3", push, at, "plant")
    with hooked(grouped, interventions=[edit]), hooked(other, interventions=[edit]):
        found = activation_difference(grouped, other, PROMPTS, position)
        kept = activation_difference(grouped, other, PROMPTS, position, keep_outliers=True)
        states = [
            np.array(trace(model, PROMPTS[0], "resid_post.3")["resid_post.3"][0], dtype=float)
            for model in (grouped, other)
        ]
    if position == "all":
        one, two = (rows[1:] for rows in states)
        assert found.positions_left_out == ((0,),) * 3
        assert found.notes()[0].startswith("Left out of the mean over positions: 0 of '7*8='")
    else:
        one, two = (np.delete(rows[-1:], 5, axis=1) for rows in states)
        assert [outlier.dimension for outlier in found.left_out[3]] == [5]
        assert found.notes() == ["Left out: dimension 5, an outlier at 1 of 4 layers"]
        assert found.as_data()["outlier_dimensions"]["3"][0]["dimension"] == 5
    expected = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert found.similarities[0, 3] == pytest.approx(expected.mean(), abs=1e-6)
    away = np.linalg.norm(two - one, axis=1) / np.linalg.norm(one, axis=1)
    assert found.relative_norms[0, 3] == pytest.approx(away.mean(), rel=1e-5)
    assert kept.similarities[0, 3] > found.similarities[0, 3] + 0.1
    assert (kept.notes(), kept.as_data()["positions_left_out"]) == ([], [[]] * 3)
