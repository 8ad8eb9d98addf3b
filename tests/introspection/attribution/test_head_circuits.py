"""Circuits by weights: planted ones are named exactly, untrained models have none, and NumPy computes the same."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution import head_circuits as module
from lazarus_probe.introspection.attribution.head_circuits import head_circuits
from lazarus_probe.introspection.attribution.ov_scores import copied, counted, sole_best
from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens
from lazarus_probe.introspection.attribution.token_states import TokenReader, ov_outputs, token_states
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted import number_tokens
from lazarus_probe.subject import Subject
from tests.conftest import naive_forward

SCRATCH_HEADS = {(0, 3), (1, 3), (2, 3)}  # they look back a distance that was drawn, which may be 1


def subject_of(circuit):
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)


@pytest.mark.parametrize(("previous", "layer", "layers"), [(0, 1, 2), (1, 2, 3)])
def test_the_planted_induction_circuit_is_named_and_no_other(previous, layer, layers):
    """The induction head matches through the previous-token head and copies; nothing else does either."""
    circuit = planted.induction(previous, layer, layers)
    result = head_circuits(subject_of(circuit), 16, 6, untrained=3)
    assert result.through == circuit.heads["previous"]
    assert result.kinds["induction"].named == (circuit.heads["induction"],)
    assert result.kinds["copying"].named == (circuit.heads["induction"],)
    assert result.kinds["copying"].score[circuit.heads["induction"]] == 1.0
    assert result.kinds["duplicate"].named == ()
    assert circuit.heads["previous"] in result.kinds["previous"].named
    assert set(result.kinds["previous"].named) <= {circuit.heads["previous"], *SCRATCH_HEADS}
    assert result.agreement["induction"] > 0
    assert result.kinds["successor"].named == ()


def test_the_planted_successor_is_named_and_no_other():
    """A head that turns numbers into the next ones counts through sequences of them, and copies nothing."""
    circuit, tokens = planted.successor(), number_tokens()
    sequences = {str(start): [tokens[start + i] for i in range(12)] for start in range(100, 220, 20)}
    result = head_circuits(subject_of(circuit), 8, 6, sequences=sequences, untrained=3)
    assert result.kinds["successor"].named == (circuit.heads["successor"],)
    assert result.kinds["successor"].score[circuit.heads["successor"]] == 1.0
    assert result.kinds["copying"].named == ()
    assert result.as_data()["successor"]["named"] == [{"layer": 1, "head": 2, "name": "successor head"}]


def test_untrained_models_have_no_circuits(organism, make_llama, tokenizer):
    """The null: nothing is named in an untrained model, nor in one with grouped heads and tied embeddings."""
    sequences = {str(number): list(range(6 * number + 2, 6 * number + 8)) for number in range(7)}
    grouped = make_llama(3, num_attention_heads=8, num_key_value_heads=2, tie_word_embeddings=True)
    for model in (organism.untrained(5), Subject.from_model(grouped, tokenizer)):
        result = head_circuits(model, 8, 6, sequences=sequences, untrained=3)
        assert len(result.kinds) == 5
        assert all(kind.named == () for kind in result.kinds.values())


def test_ov_circuits_are_those_of_the_matrices(subject):
    """Each head's output on a token is O V norm(E + MLP(E)), in NumPy, for grouped keys and biases as for others."""
    model, tokens = subject.model, np.array([3, 9, 14, 30])
    states = naive_forward(model, tokens[:, None], lambda name, value: value * (name != "attn_out.0"))
    expected = states["resid_post.0"][:, 0]
    np.testing.assert_allclose(np.array(token_states(subject, tokens)), expected, atol=1e-5)
    heads, groups = model.args.num_attention_heads, model.args.num_key_value_heads
    for layer, outputs in ov_outputs(subject, tokens):
        rows = states["embed"][:, 0] if layer == 0 else expected
        block = model.model.layers[layer]
        scaled = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + model.args.rms_norm_eps)
        normed = scaled * np.array(block.input_layernorm.weight, dtype=np.float64)
        attention = block.self_attn
        values = normed @ np.array(attention.v_proj.weight).T
        values = values + (np.array(attention.v_proj.bias) if "bias" in attention.v_proj else 0)
        values = values.reshape(len(tokens), groups, -1).repeat(heads // groups, axis=1)
        project = np.array(attention.o_proj.weight).reshape(-1, heads, values.shape[-1])
        np.testing.assert_allclose(outputs, np.einsum("nhd,whd->nhw", values, project), atol=1e-5)


def test_logits_are_ranked_as_by_the_unembedding(subject):
    """What a term adds to the logits is ranked as the final norm's weight and the unembedding rank it."""
    model, tokens = subject.model, np.arange(3, 40)
    terms = np.random.default_rng(0).normal(size=(5, subject.anatomy.hidden_size)).astype(np.float32)
    reader = TokenReader(subject, tokens)
    head = model.model.embed_tokens if model.args.tie_word_embeddings else model.lm_head
    logits = terms * np.array(model.model.norm.weight) @ np.array(head.weight)[tokens].T
    assert (np.argsort(reader.normed(terms) @ reader.rows.T) == np.argsort(logits)).all()


def test_composition_adds_the_head_before_and_nothing_below_it(grouped):
    """Above the head through which keys are composed a token has the previous token's output; below it has its own."""
    drawn = repeated_tokens(grouped, 5, 1, seed=2).repeated
    tokens = np.unique(drawn)
    known = token_states(grouped, tokens)
    added = dict(ov_outputs(grouped, tokens, known))[1][:, 2]
    edits = module._composed(grouped, 1, tokens, known, mx.array(added), drawn)
    states = token_states(grouped, drawn[0])
    outputs = dict(ov_outputs(grouped, drawn[0]))[1][:, 2]
    by_layer = {edit.site.layer: np.array(edit.edit(mx.zeros((1, *states.shape)))) for edit in edits}
    np.testing.assert_allclose(by_layer[1][0], np.array(states), atol=1e-6)
    for layer in (2, 3):
        moved = by_layer[layer][0] - np.array(states)
        np.testing.assert_allclose(moved[1:], outputs[:-1], atol=1e-6)
        assert not moved[0].any()


def test_scores_are_those_of_a_naive_loop():
    """Copying counts own tokens, counting on the next ones; a head that adds nothing names none."""
    logits = np.random.default_rng(1).normal(size=(6, 2, 6))
    logits[:, 1] = 0
    own = [logits[i, 0].argmax() for i in range(6)]
    assert copied(logits)[0].tolist() == [np.mean([own[i] == i for i in range(6)]), 0]
    assert copied(logits)[1].tolist() == [np.mean([own[i] == (i + 1) % 6 for i in range(6)]), 0]
    score, control = counted(logits)
    assert score.tolist() == [np.mean([own[i] == i + 1 for i in range(5)]), 0]
    others = [own[i] not in (i, i + 1) for i in range(5)]
    assert control[0] == pytest.approx(np.mean(others) / 4)
    assert (sole_best(logits)[:, 1] == -1).all()


def test_what_cannot_be_scored_is_refused_or_left_out_by_name(grouped, make_llama):
    """An error, or the reason why a kind is not there, says what is missing."""
    with pytest.raises(ValueError, match="rows is 5; give at least 6"):
        head_circuits(grouped, 8, 5)
    with pytest.raises(ValueError, match="sequence 'short' has 2 different tokens of 3"):
        head_circuits(grouped, 8, 6, sequences={"short": [3, 4, 4]})
    shallow = Subject.from_model(make_llama(0, num_hidden_layers=1), name="shallow")
    result = head_circuits(shallow, 8, 6, untrained=3)
    assert set(result.kinds) == {"previous", "duplicate", "copying"}
    assert result.through is None
    assert "no previous-token head has a block" in result.left_out["induction"]
    assert "shallow has no tokenizer" in result.left_out["successor"]


def test_a_model_without_attention_is_refused(mamba):
    """A state-space model has no heads to score."""
    with pytest.raises(UnsupportedArchitecture, match="no attention patterns"):
        head_circuits(mamba, 8, 6)
