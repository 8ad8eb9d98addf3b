"""Erased choices: what is planted is lost where it stands and nowhere else, NumPy runs the same, nulls lose none."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import NotApplicable
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.directions.concept_erasure import fit_eraser, whitening
from lazarus_probe.introspection.directions.concept_use import concept_used
from lazarus_probe.introspection.directions.erase_concept import erase_concept
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.statistics.folds import halves
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models

PLANTED = 1


def choices(circuit, count=60, seed=0):
    """A planted model, prompts of both answers alike, these answers as labels, and the tokens of both."""
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    drawn = np.random.default_rng(seed).choice(planted.NUMBERS, size=(4 * count, 2)).tolist()
    said = [[pair for pair in drawn if circuit.answer(*pair) == answer][: count // 2] for answer in (0, 1)]
    pairs, labels = said[0] + said[1], ["0"] * (count // 2) + ["1"] * (count // 2)
    tokens = {word: subject.single_token(word) for word in "01"}
    answers = [tokens[label] for label in labels]
    others = [tokens[str(1 - int(label))] for label in labels]
    return subject, ([planted.prompt(a, b) for a, b in pairs], labels, answers, others)


@pytest.fixture(scope="module")
def distracted():
    """A concept that attention of layer 1 fetches, erased after each layer."""
    subject, given = choices(planted.distractor(PLANTED), count=120)
    return subject, given, erase_concept(subject, *given, layers=range(4), random=3)


def test_the_planted_concept_is_lost_where_it_stands_and_nowhere_else(distracted):
    """From its layer on the whole gap is lost and the probe finds nothing; before it there is nothing to lose."""
    _, _, result = distracted
    assert (result.gap > 0).all()
    share = result.share_lost(result.erased).mean(axis=1)
    np.testing.assert_allclose(share, [0, 1, 1, 1], atol=0.03)
    # These states vary in some ten directions, so that others overlap with the planted one by a tenth or two.
    assert result.share_lost(result.random).mean() < 0.4
    assert result.share_lost(result.shuffled).mean() < 0.4
    assert [probe.accuracy > 0.9 for probe in result.before] == [False, True, True, True]
    assert all(probe.interval.low < 0.6 for probe in result.after)
    assert result.rank == 1
    assert result.lost.p[PLANTED] < 0.01 < 0.05 < result.lost.p[0]
    assert result.damage.score < 0.01


def test_what_is_erased_is_the_planted_dimension(distracted):
    """The eraser takes the label away, and what it reads of a state is that dimension."""
    subject, (prompts, labels, *_), _ = distracted
    site = resid_post(PLANTED)
    states = collect(subject, prompts, [site])[site]
    eraser = fit_eraser(states, np.array(labels), whitening(states))
    moved = np.abs(states - eraser(states)).mean(axis=0)
    assert moved.argmax() == by_hand.LABEL
    assert np.delete(moved, by_hand.LABEL).max() < 0.1 * moved[by_hand.LABEL]


def test_gaps_are_those_of_numpy(grouped, naive):
    """A forward in NumPy with the erased state in place gives the same gaps, for the half that was not fitted on."""
    rng = np.random.default_rng(0)
    prompts = [[0, *row] for row in rng.integers(2, 60, size=(24, 4)).tolist()]
    labels = ["a" if ids[2] < 30 else "b" for ids in prompts]
    answers, others = rng.integers(2, 60, size=(2, 24)).tolist()
    result = erase_concept(grouped, prompts, labels, answers, others, layers=[0, 2], random=2, seed=3)
    fitted, tested = halves(labels, [str(row) for row in range(24)], seed=3)
    for number, layer in enumerate((0, 2)):
        runs = [naive(grouped.model, [ids])[f"resid_post.{layer}"][0, -1] for ids in prompts]
        states = np.stack(runs)
        eraser = fit_eraser(states[fitted], np.array(labels)[fitted], whitening(states[fitted]))
        for place, row in enumerate(tested):
            state = eraser(states[row])

            def edit(name, value, layer=layer, new=state):
                if name == f"resid_post.{layer}":
                    value = value.copy()
                    value[:, -1] = new
                return value

            plain, erased = (
                run["logits"][0, -1, answers[row]] - run["logits"][0, -1, others[row]]
                for run in (naive(grouped.model, [prompts[row]]), naive(grouped.model, [prompts[row]], edit))
            )
            assert result.gap[place] == pytest.approx(plain, abs=1e-3)
            assert result.erased[number, place] == pytest.approx(erased, abs=1e-3)


def test_what_is_read_and_no_longer_used_costs_no_choice():
    """A sign that a product is made of is needed before its layer; after it a probe reads it still, in vain."""
    circuit = planted.decodable(PLANTED)
    subject, (prompts, _, answers, others) = choices(circuit)
    embedding = np.array(circuit.model.model.embed_tokens.weight)
    firsts = [subject.single_token(prompt.split("*")[0]) for prompt in prompts]
    signs = ["plus" if embedding[token, by_hand.MARK] > 0 else "minus" for token in firsts]
    result = erase_concept(subject, prompts, signs, answers, others, layers=[0, PLANTED], random=2)
    assert [probe.accuracy for probe in result.before] == [1, 1]
    before, after = result.share_lost(result.erased).mean(axis=1)
    assert before > 0.8
    assert after < 0.1


@pytest.mark.parametrize("seed", range(2))
def test_untrained_models_lose_nothing_beyond_random(organism, seed):
    """The null: what erasing the first operand's size costs a choice is not beyond random subspaces."""
    rng = np.random.default_rng(seed)
    operands = rng.integers(2, 99, size=(40, 2)).tolist()
    labels = ["small" if a < 50 else "large" for a, _ in operands]
    answers, others = rng.integers(3, 2000, size=(2, 40)).tolist()
    prompts = [f"{a}*{b}=" for a, b in operands]
    result = erase_concept(
        organism.untrained(seed), prompts, labels, answers, others, layers=[2, 6], random=3, seed=seed
    )
    assert result.lost.p.min() > 0.05


def test_control_models_lose_no_choice_of_the_planted_one():
    """The measurement is whole, and no control model's gap rests on the concept as the planted one's does."""
    subject, given = choices(planted.distractor(PLANTED), count=40)
    prompts, labels, answers, others = given
    measurement = concept_used(
        subject, control_models(subject, count=3), prompts, labels, answers, others, prompts, PLANTED
    )
    scores = {control.name: control.score for control in measurement.controls}
    names = {"random_subspace", "shuffled_labels", "untrained", "new_blocks", "permuted_blocks"}
    assert set(scores) == names
    assert measurement.score > 0.95
    assert max(scores.values()) < 0.6
    assert measurement.details["right"] == 1


def test_no_control_model_is_run_for_what_does_not_apply(monkeypatch):
    """The subject's own numbers are checked first, and what ends there has built no other model."""
    subject, given = choices(planted.distractor(PLANTED), count=40)
    prompts, labels, answers, others = given
    models = control_models(subject, count=3)

    def refuse(*_):
        raise AssertionError("a control model was built")

    def check(details):
        raise NotApplicable(f"chooses right in {details['right']:.2f}")

    monkeypatch.setattr("lazarus_probe.subject.control_models.ControlModel.build", refuse)
    with pytest.raises(NotApplicable, match=r"chooses right in 1\.00"):
        concept_used(subject, models, prompts, labels, answers, others, prompts, PLANTED, check=check)


def test_what_cannot_be_erased_is_refused_by_name(grouped):
    """An error names the count or the layer, and what would be right."""
    prompts, labels = [[0, 5, 9], [0, 6, 8], [0, 9, 3], [0, 4, 2]], ["a", "b", "a", "b"]
    with pytest.raises(ValueError, match="2 labels for 4 prompts"):
        erase_concept(grouped, prompts, labels[:2], [5] * 4, [6] * 4)
    with pytest.raises(IndexError, match="layer 4 is not there"):
        erase_concept(grouped, prompts, labels, [5] * 4, [6] * 4, layers=[4])
    with pytest.raises(ValueError, match="no layers to erase after"):
        erase_concept(grouped, prompts, labels, [5] * 4, [6] * 4, layers=[])
    with pytest.raises(ValueError, match="random is 0"):
        erase_concept(grouped, prompts, labels, [5] * 4, [6] * 4, random=0)
