"""Edits of facts: a planted memory is named exactly, edits are those of changed weights, and nulls hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.editing.edited_facts import make_edits, outcomes
from lazarus_probe.introspection.editing.fact_prompts import fact_prompts, unrelated_texts
from lazarus_probe.introspection.editing.rank_one_edit import RankOneEdit, rank_one_edit
from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.taps import is_tapped

WORDINGS = ("{}*5=", "{}*12=")
TEXTS = ("The dog found the ball.", "Add some salt.", "It is raining again.", "12*12=144")


def subject_of(circuit: planted.Planted) -> Subject:
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)


def facts_of(circuit: planted.Planted) -> list[SpannedPrompt]:
    return [
        SpannedPrompt(planted.prompt(a, b), str(a), str(circuit.answer(a, b)), str(1 - circuit.answer(a, b)))
        for a in planted.REMEMBERED
        for b in (9, 4)
    ]


@pytest.mark.parametrize(("layer", "read"), [(1, 2), (0, 3)])
def test_the_mlp_that_holds_the_facts_is_named_exactly(layer, read):
    """There alone the other answer follows, in other wordings too, for one operand without the others."""
    circuit = planted.memory(layer, read)
    result = rank_one_edit(subject_of(circuit), facts_of(circuit), wordings=WORDINGS)
    assert result.working == (layer,)
    assert result.keyless == tuple(other for other in range(4) if other != layer)
    np.testing.assert_allclose(result.before, 0, atol=1e-4)
    expected = np.zeros((4, 16)) + (np.arange(4) == layer)[:, None]
    np.testing.assert_allclose(result.edited, expected, atol=0.01)
    np.testing.assert_allclose(result.prompt, expected, atol=0.01)
    assert (result.kept == 1).all()
    assert result.random_key.mean(axis=1).max() < 0.2
    few = rank_one_edit(subject_of(circuit), facts_of(circuit)[::2], wordings=WORDINGS, untrained=0)
    assert few.random_key.max() < 0.5  # of eight facts; of sixteen, chance writes one
    assert max(damage.score for damage in result.damage) < 1e-3


def test_an_edit_works_where_the_fact_is_not_stored():
    """A fact that one MLP makes is written over in every MLP before it is read, and in none after."""
    circuit = planted.stored(1, 3)
    result = rank_one_edit(subject_of(circuit), facts_of(circuit))
    assert result.working == (0, 1, 2)
    assert result.edited[3].max() < 1e-4
    assert not result.reworded


def test_untrained_models_are_edited_as_untrained_models_are(organism):
    """The null: what edits do in an untrained model is not beyond what they do in another."""
    facts = [
        SpannedPrompt(f"{a}*{b}=", str(a), "1", "0") for a, b in ((12, 8), (7, 5), (31, 4), (45, 6), (9, 3))
    ]
    result = rank_one_edit(
        organism.untrained(2), facts, layers=[2, 4], wordings=["{}+5="], texts=TEXTS, steps=6
    )
    assert result.untrained.shape == (3, 2)
    assert result.untrained_reach is not None
    assert result.effects.effect.mean.max() < result.untrained_reach


def test_nothing_works_in_an_untrained_model():
    """The null: of a model that stores no fact no layer is said to work."""
    circuit = planted.stored(1, 3)
    result = rank_one_edit(subject_of(circuit).untrained(2), facts_of(circuit), layers=[0, 1])
    assert result.working == ()
    assert result.judged is not None
    assert "supported" not in {str(verdict.outcome) for verdict in result.judged.verdicts.values()}


def test_an_edit_works_beyond_what_untrained_models_take():
    """What any model lets itself be told is no finding, nor is what was compared with none; a claim is as declared."""
    facts, ones = 16, np.ones((2, 16))
    result = RankOneEdit(
        layers=(3, 5),
        before=np.zeros(facts),
        edited=ones,
        random_key=np.zeros((2, facts)),
        untrained=np.array([[0.1, 0.2], [0.15, 0.2], [0.1, 0.25]]),
        prompt=ones,
        kept=ones,
        reworded=True,
        keyless=(),
        units=tuple(map(str, range(facts))),
        damage=(),
        seed=0,
    )
    assert result.working == (3, 5)
    assert set(result.as_data()["verdicts"]) == {"L3", "L5"}
    alike = replace(result, untrained=np.array([[0.9, 0.2], [0.95, 0.2], [0.9, 0.25]]))
    assert alike.judged is not None
    assert alike.working == ()
    assert {str(verdict.outcome) for verdict in alike.judged.verdicts.values()} == {"inconclusive"}
    same = replace(result, random_key=ones)
    assert same.judged is not None
    assert {str(verdict.outcome) for verdict in same.judged.verdicts.values()} == {"confounded"}
    for lacking, why in (
        (replace(result, untrained=np.zeros((0, 2))), "untrained"),
        (replace(result, units=("a",) * facts), "one"),
    ):
        assert (lacking.judged, lacking.working, lacking.as_data()["verdicts"]) == (None, (), {})
        assert why in str(lacking.why_unjudged)


def test_edits_are_those_of_changed_weights(grouped):
    """The outcome of each edit is the model's own, with the weight changed: probabilities and likeliest tokens."""
    prompts = ["12+3=", "7+20=", "9+9="]
    facts = fact_prompts(
        grouped, prompts, ["12", "7", "9+"], [5, 6, 7], [8, 9, 10], wordings=["{}*1="], neighbours=["5", "6"]
    )
    edits = make_edits(grouped, facts, [0, 2], ["the cat", "a dog 12", "ac+ca=33", "one more text."])
    after = outcomes(grouped, facts, edits)
    for number, layer in enumerate((0, 2)):
        down = grouped.anatomy.part("down_proj", layer)
        own = down.weight
        for fact in range(3):
            u, v = edits.changes[number, fact], edits.directions[number][fact]
            try:
                down.weight = own + np.outer(u, v).astype(np.float32)
                alone = outcomes(grouped, facts)
            finally:
                down.weight = own
            for name in ("prompt", "wordings"):
                assert getattr(after, name)[number, fact] == pytest.approx(
                    getattr(alone, name)[0, fact], abs=1e-4
                )
            assert (after.neighbours[number][fact] == alone.neighbours[0][fact]).all()


def test_random_directions_are_as_long(grouped):
    """The control has the same change, and another direction of the same length."""
    facts = fact_prompts(grouped, ["12+3="], ["12"], [5], [8])
    edits = make_edits(grouped, facts, [1], ["the cat", "a dog 12"])
    control = edits.randomly(0)
    lengths = [np.linalg.norm(one.directions[0]) for one in (edits, control)]
    assert lengths[0] == pytest.approx(lengths[1])
    np.testing.assert_array_equal(control.changes, edits.changes)
    assert abs(np.dot(edits.directions[0][0], control.directions[0][0])) < 0.6 * lengths[0] ** 2


def test_texts_hold_no_capitals():
    """The second moment is of text of every task but the one that is edited."""
    texts = unrelated_texts(count=100)
    assert len(texts) == 100
    assert not any("capital" in text for text in texts)


def test_an_interrupted_measurement_leaves_the_model_as_it_was(grouped, monkeypatch):
    """An interrupt while an edit is made leaves no tap and no changed weight."""
    prints = grouped.fingerprint

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lazarus_probe.introspection.editing.edited_facts.require_finite", interrupted)
    facts = fact_prompts(grouped, ["12+3="], ["12"], [5], [8])
    with pytest.raises(KeyboardInterrupt):
        outcomes(grouped, facts, make_edits(grouped, facts, [1], ["the cat"]))
    assert not is_tapped(grouped.model)
    assert grouped.fingerprint == prints


def test_what_cannot_be_edited_is_refused_by_name(grouped, mamba):
    """An error names the fact, the wording or the layer, and what would be right."""
    fact = SpannedPrompt("12+3=", "12", "a", "b")
    with pytest.raises(ValueError, match="has no new answer; give one as `other`"):
        rank_one_edit(grouped, [SpannedPrompt("12+3=", "12")])
    with pytest.raises(ValueError, match=r"the wording 'x' has no \{\}"):
        rank_one_edit(grouped, [fact], wordings=["x"])
    with pytest.raises(ValueError, match="steps is 0"):
        rank_one_edit(grouped, [fact], steps=0)
    with pytest.raises(ValueError, match="untrained is 2; give at least 3"):
        rank_one_edit(grouped, [fact], untrained=2)
    with pytest.raises(ValueError, match="layer 9 is not there; the model has 0 to 3"):
        rank_one_edit(grouped, [fact], layers=[9])
    with pytest.raises(UnsupportedArchitecture, match="mamba has no neurons"):
        rank_one_edit(mamba, [fact])
    with pytest.raises(ValueError, match="is 2 times in the prompt"):
        rank_one_edit(grouped, [SpannedPrompt("12+12=", "12", "a", "b")])
    with pytest.raises(ValueError, match=r"the answer and the new answer of '12\+3=' are one token"):
        fact_prompts(grouped, ["12+3="], ["12"], [5], [5])
    with pytest.raises(ValueError, match="2 parts for 1 prompts"):
        fact_prompts(grouped, ["12+3="], ["12", "3"], [5], [6])
    with pytest.raises(ValueError, match="the first is the empty text"):
        fact_prompts(grouped, ["12+3="], ["12"], [5], [6], contexts=["a "])
