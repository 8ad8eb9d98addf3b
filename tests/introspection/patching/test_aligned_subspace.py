"""Alignment search: a planted variable's subspace is found where it is read, and nulls find nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.introspection.patching.aligned_subspace import aligned_subspace
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.rotations import principal_angles
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted.weights import FIRST, WIDTH
from lazarus_probe.subject import Subject
from lazarus_probe.taps import is_tapped

COUNT = 64


@pytest.fixture(scope="module")
def signs():
    """A model that says whether two operands have one sign, and pairs that interchange the first operand's sign alone.

    The sign stands in one dimension until layer 2 multiplies it with the second operand's. What is said is mild, so
    that no pair is settled before the subspace is exact.
    """
    circuit = planted.decodable(2)
    circuit.model.lm_head.weight = circuit.model.lm_head.weight / 16
    drawn = np.random.default_rng(0).permutation(planted.NUMBERS)[: 4 * COUNT].reshape(-1, 4).tolist()
    pairs = [
        PromptPair(
            planted.prompt(x, y), planted.prompt(a, b), str(circuit.answer(x, b)), str(circuit.answer(a, b))
        )
        for a, b, x, y in drawn
    ]
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name), pairs


def test_the_planted_subspace_is_found(signs):
    """Before the product the subspace is the sign's dimension, which the whole state is not; after it there is none."""
    subject, pairs = signs
    result = aligned_subspace(subject, pairs, layers=[1, 2])
    assert result.aligned == (1,)
    assert result.best == 1
    assert result.held_out[0].mean() == 1
    assert result.held_out[1].mean() < 0.8
    assert result.whole.mean() < 0.8
    assert result.plain.mean() < 0.8
    assert result.relabelled.mean() < 0.8
    angle = principal_angles(result.bases[0], np.eye(WIDTH)[:, [FIRST]])
    assert np.degrees(angle[0]) < 10
    assert result.damage is not None
    assert result.damage.score < 0.05


def test_a_relabelled_causal_model_is_at_chance(signs):
    """The null: where sources have each other's answers no subspace holds on pairs that it was not trained on."""
    subject, pairs = signs
    order = np.random.default_rng(1).permutation(len(pairs))
    wrong = [
        PromptPair(pair.source, pair.target, pairs[other].source_answer, pair.target_answer)
        for pair, other in zip(pairs, order, strict=True)
    ]
    result = aligned_subspace(subject, wrong, layers=[1], steps=25)
    assert result.judged is not None
    assert result.aligned == ()
    assert 0.25 < result.held_out.mean() < 0.75
    assert result.effects.p[0] > 0.05


def test_untrained_models_hold_no_variable(organism):
    """The null: in an untrained model no subspace carries an answer beyond what one more of them may."""
    pairs = [
        PromptPair(f"{a}*{b}=", f"{b}*{a}=", str(a % 2), str(b % 2), group=f"{a},{b}")
        for a, b in (
            (12, 7),
            (31, 8),
            (45, 6),
            (9, 22),
            (14, 35),
            (77, 10),
            (61, 18),
            (3, 50),
            (24, 5),
            (90, 11),
        )
    ]
    result = aligned_subspace(organism.untrained(2), pairs, layers=[3], untrained=3, steps=8)
    assert result.untrained.shape == (3, 1)
    assert result.aligned == ()
    assert not is_tapped(organism.model)


def test_nothing_is_aligned_in_an_untrained_model(signs):
    """The null: the pairs that show the variable where it is show none in a model that was never trained."""
    subject, pairs = signs
    result = aligned_subspace(subject.untrained(2), pairs, layers=[1, 2], steps=10)
    assert result.judged is not None
    assert result.aligned == ()
    assert result.as_data()["verdicts"]["L1"]["claim"] == "subspace-carries-the-variable"
    alone = replace(result, untrained=np.zeros((0, 2)))
    assert (alone.judged, alone.aligned, alone.as_data()["verdicts"]) == (None, (), {})


def test_units_are_never_split(signs):
    """All pairs of a group are trained on or held out, half of the groups each."""
    subject, pairs = signs
    grouped = [
        PromptPair(p.source, p.target, p.source_answer, p.target_answer, str(i % 8))
        for i, p in enumerate(pairs)
    ]
    result = aligned_subspace(subject, grouped, layers=[1], untrained=0, steps=1)
    assert len(set(result.units)) == 4
    assert len(result.units) == COUNT // 2
    data = result.as_data()
    assert (data["held_out_pairs"], data["units"], data["size"], data["options"]) == (COUNT // 2, 4, 1, 2)


def test_what_cannot_be_searched_is_refused_by_name(grouped):
    """An error names the option, and what would be right."""
    pairs = [PromptPair(f"{a}+1=", f"{a}+2=", "a", "b") for a in (3, 4, 5, 6)]
    with pytest.raises(ValueError, match="size is 33; give at least 1 and at most 32"):
        aligned_subspace(grouped, pairs, size=33)
    with pytest.raises(ValueError, match="steps is 0; give at least 1"):
        aligned_subspace(grouped, pairs, steps=0)
    with pytest.raises(ValueError, match="untrained is 1; give at least 3"):
        aligned_subspace(grouped, pairs, untrained=1)
    with pytest.raises(ValueError, match="3 independent units; give at least 4"):
        aligned_subspace(grouped, pairs[:3])
    with pytest.raises(ValueError, match="all answers are 'a'; give pairs with different answers"):
        aligned_subspace(grouped, [PromptPair(p.source, p.target, "a", "a") for p in pairs])
    with pytest.raises(ValueError, match="patch between prompts of equal length"):
        aligned_subspace(grouped, [*pairs, PromptPair("3+1=", "33+1=", "a", "b")])
    with pytest.raises(IndexError, match="position 9"):
        aligned_subspace(grouped, pairs, position=9)
