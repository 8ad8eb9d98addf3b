"""Sinks and massive activations: planted ones are found where they are, NumPy counts the same, and nulls have none."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.geometry.sink_runs import first_token_attention, magnitudes
from lazarus_probe.introspection.geometry.sinks import attention_sinks
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted.weights import WORD
from lazarus_probe.subject import Subject
from lazarus_probe.subject.random_tokens import random_rows

BEGIN = "without the beginning-of-sequence token"


@pytest.mark.parametrize(("layer", "heads"), [(1, 2), (0, 1)])
def test_the_planted_sink_is_found_and_what_it_is_for(layer, heads):
    """Its heads sink for the massive activation alone; at zero the model says one word, at its mean nothing new."""
    circuit = planted.sink(layer, heads)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    result = attention_sinks(subject, 24, 4)
    given = result.conditions["as given"]
    expected = np.zeros((4, 4), dtype=bool)
    for head in circuit.heads.values():
        expected[head] = True
    assert ((given.attention > 0.3) == expected).all()
    assert given.share.mean == pytest.approx(expected.mean())
    assert given.by_layer.tolist() == expected.mean(axis=1).tolist()
    assert result.conditions[BEGIN].share.mean == result.conditions["another first token"].share.mean == 0
    assert result.moved.share.mean == expected.mean(), "it is the token that is sunk into"
    assert (result.massive.layer, result.massive.position, result.massive.dimensions) == (layer, 0, (WORD,))
    assert result.place == (WORD, 0, layer, 1.0)
    assert result.ratio == pytest.approx(5000, rel=0.05)
    assert result.edits["set to zero"].share.mean == 0
    assert result.edits["set to zero"].damage.low > 0.9
    for name in ("set to their mean", "as many others set to zero"):
        assert result.edits[name].share.mean == expected.mean()
        assert result.edits[name].damage.score < 0.01
    assert all(share == 0 for pairs in result.models.values() for share, _ in pairs)


@pytest.mark.parametrize("seed", range(2))
def test_untrained_models_have_neither(organism, seed):
    """The null: no head of an untrained model sinks, nothing is massive, and no edit is made."""
    result = attention_sinks(organism.untrained(seed), 24, 3, seed=seed)
    assert all(of.share.mean == 0 for of in result.conditions.values())
    assert result.massive is None
    assert not result.edits
    assert "no massive activation" in result.left_out["edits"]


def test_attention_and_magnitudes_are_those_of_a_naive_loop(subject):
    """The mean over later tokens of what a head gives one, and the largest and median sizes, counted one by one."""
    tokens = np.array([[0, 5, 9, 11, 7, 30], [0, 6, 8, 22, 17, 3]], dtype=np.int32)
    run = trace(
        subject, tokens, [f"{kind}.{layer}" for layer in range(4) for kind in ("pattern", "resid_post")]
    )
    for position in (0, 3):
        measured = first_token_attention(subject, tokens, position).attention
        for layer in range(4):
            pattern = np.array(run[f"pattern.{layer}"])
            for row, head in np.ndindex(2, 4):
                given = [pattern[row, head, query, position] for query in range(position + 1, 6)]
                assert measured[row, layer, head] == pytest.approx(np.mean(given), abs=1e-6)
    sizes = magnitudes(subject, tokens)
    for layer in range(4):
        states = np.abs(np.array(run[f"resid_post.{layer}"]))
        np.testing.assert_allclose(sizes.largest[layer], states.max(axis=(1, 2)), rtol=1e-5)
        np.testing.assert_allclose(sizes.medians[layer], np.median(states.reshape(2, -1), axis=1), rtol=1e-4)


def test_without_a_beginning_token_a_condition_is_left_out(make_llama):
    """A model without a tokenizer has no beginning-of-sequence token to put there, and says so."""
    result = attention_sinks(Subject.from_model(make_llama(0), name="bare"), 12, 2)
    assert list(result.conditions) == ["as given", "another first token"]
    assert result.left_out["with a beginning-of-sequence token"] == "the tokenizer has none"
    assert not result.begins


def test_what_cannot_be_measured_is_refused(grouped, mamba):
    """Too little material, and models without attention."""
    with pytest.raises(ValueError, match="at least 8 tokens and 2 rows"):
        attention_sinks(grouped, 7, 2)
    with pytest.raises(ValueError, match="2 untrained models"):
        attention_sinks(grouped, 8, 2, untrained=2)
    with pytest.raises(UnsupportedArchitecture, match="no attention patterns, so no heads that could sink"):
        attention_sinks(mamba, 8, 2)


def test_random_rows_are_what_repeated_tokens_draw(organism):
    """Rows hold no special tokens and none twice, after the beginning-of-sequence token."""
    before, rows = random_rows(organism, 12, 5, seed=3)
    assert before.tolist() == [organism.tokenizer.bos_token_id]
    assert all(len(set(row)) == 12 for row in rows.tolist())
    assert not set(organism.tokenizer.all_special_ids) & set(rows.ravel().tolist())
