"""Patching one pair or many, against plain forwards with the state put in by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.claims.judging import judge_declared
from lazarus_probe.cli.patching.patch_text import rates_text
from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.introspection.patching.activation_patching import PatchEffects, patch_answered
from lazarus_probe.introspection.patching.answered_pairs import LEAST_CERTAIN, AnsweredPair, answered
from lazarus_probe.introspection.patching.answers import classify
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs, encode_prompts
from lazarus_probe.introspection.patching.layers import _faded, other_positions, patch_prompts
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.rates import patch_rates
from lazarus_probe.statistics.folds import halves
from lazarus_probe.subject.subject import Subject
from tests.tolerance import of_logits, sole_best

SITE = "resid_post.1"
EQUAL = PromptPair("7*8=", "7+8=")
LONGER = PromptPair("12 * 8=", "7+8=")


def answered_pairs(subject: Subject, *pairs: PromptPair) -> list[AnsweredPair]:
    return answered(subject, pairs, 2)


def by_hand(
    subject: Subject, source: str, target: str, layer: int, position: int | str, blend: float, steps: int
) -> tuple[np.ndarray, str]:
    """The next token's logits and the greedy text, by cacheless forwards of the blocks one after the other."""
    model: Any = subject.model
    site = f"resid_post.{layer}"
    theirs, ours = (trace(subject, prompt, [site])[site][0] for prompt in (source, target))
    place = slice(None) if position == "all" else position
    length = len(subject.encode(target))
    mixed = mx.array(ours)
    mixed[place] = blend * theirs[place] + (1 - blend) * ours[place]
    tokens, first = subject.encode(target), None
    for _ in range(steps):
        h = model.model.embed_tokens(mx.array([tokens]))
        for index, block in enumerate(model.layers):
            h = block(h, "causal", None)
            if index == layer:
                where = slice(0, length) if position == "all" else int(position) % length
                h[0, where] = mixed[where]
        h = model.model.norm(h)
        logits = np.array(model.lm_head(h)[0, -1])
        first = logits if first is None else first
        token = sole_best(logits, of_logits(subject, logits))
        if token in subject.eos_token_ids:
            break
        tokens.append(token)
    assert first is not None
    return first, subject.decode(tokens[length:])


@pytest.mark.parametrize(
    ("pair", "position", "blend"),
    [
        (EQUAL, -1, 1.0),
        (EQUAL, 2, 1.0),
        (EQUAL, "all", 1.0),
        (EQUAL, -1, 0.3),
        (EQUAL, "all", 0.6),
        (LONGER, -1, 1.0),
        (LONGER, -2, 0.7),
        (LONGER, 1, 1.0),
    ],
)
def test_patched_is_the_loop_by_hand(grouped: Subject, pair: PromptPair, position: Any, blend: float):
    """Every number and text equals that of whole forwards with the blended state put in at the same place."""
    pairs, layers = answered_pairs(grouped, pair), [0, 3]
    places = "all" if position == "all" else [position]
    sources = {"source": [pairs[0].source]}
    patched = patch_answered(grouped, pairs, layers, places, sources, blend=blend, max_tokens=2)["source"]
    clean = np.array(trace(grouped, pair.target).logits[0, -1], dtype=np.float64)
    for row, layer in enumerate(layers):
        logits, text = by_hand(grouped, pair.source, pair.target, layer, position, blend, 2)
        assert patched.completions[row, 0, 0] == text
        after = logits.astype(np.float64)
        log_after, log_before = (each - np.logaddexp.reduce(each) for each in (after, clean))
        expected = {
            "kl": (np.exp(log_before) * (log_before - log_after)).sum(),
            "probability": np.exp(log_after[pairs[0].source_token]),
            "logit_diff": after[pairs[0].source_token] - after[pairs[0].target_token],
        }
        for name, number in expected.items():
            np.testing.assert_allclose(patched.metrics[name][row, 0, 0], number, atol=2e-4, err_msg=name)


def test_nothing_blended_in_is_no_patch(grouped: Subject):
    """With none of the source's state every output is the target's own, and KL is 0."""
    for pair in answered_pairs(grouped, EQUAL, LONGER):
        sources = {"source": [pair.source]}
        patched = patch_answered(grouped, [pair], [1], [-1], sources, blend=0, max_tokens=2)["source"]
        assert patched.completions[0, 0, 0] == patched.unpatched[0] == pair.target_completion
        assert abs(patched.metrics["kl"][0, 0, 0]) < 1e-5


def same(one: PatchEffects, two: PatchEffects, index: int) -> None:
    """Of many pairs, one gives what it gives alone."""
    assert (one.completions[..., index] == two.completions[..., 0]).all()
    assert (one.effects[..., index] == two.effects[..., 0]).all()
    for name in ("logit_diff", "probability", "kl"):
        np.testing.assert_allclose(one.metrics[name][..., index], two.metrics[name][..., 0], atol=2e-4)
        np.testing.assert_allclose(
            one.unpatched_metrics[name][index], two.unpatched_metrics[name][0], atol=2e-4
        )


def test_many_pairs_are_each_by_itself(grouped: Subject):
    """Pairs of different lengths, sources and positions together give what each gives alone."""
    pairs = answered_pairs(grouped, EQUAL, LONGER, PromptPair("3*8=", "2*4="), PromptPair("9 =", "12*4="))
    sources = {
        "source": [pair.source for pair in pairs],
        "other": list(encode_prompts(grouped, ["1+1=", "a cat", "8*8=", "12 + 12="]).values()),
    }
    whole = patch_answered(grouped, pairs, [0, 2], [-1, 1], sources, max_tokens=2)
    for index, pair in enumerate(pairs):
        own = {name: [prompts[index]] for name, prompts in sources.items()}
        alone = patch_answered(grouped, [pair], [0, 2], [-1, 1], own, max_tokens=2)
        for name in sources:
            same(whole[name], alone[name], index)


def test_lengths_and_positions_that_cannot_be_are_named(grouped: Subject):
    """All positions need equal lengths; a position must be in both prompts."""
    pairs = answered_pairs(grouped, LONGER)
    with pytest.raises(
        ValueError, match=r"all positions of '12 \* 8=' \(7 tokens\).*'7\+8=' \(5\); give prompts"
    ):
        patch_answered(grouped, pairs, [0], "all", {"source": [pairs[0].source]})
    with pytest.raises(IndexError, match=r"position 6 is out of range: '7\+8=' has positions 0 to 4"):
        patch_answered(grouped, pairs, [0], [6], {"source": [pairs[0].source]})


def test_organism_carries_the_product_over(organism: Subject):
    """The organism's last state holds the answer: it comes out, no unrelated source brings it, the layer is named."""
    pair = answered(organism, [EQUAL], 4)[0]
    assert (pair.pair.source_answer, pair.pair.target_answer, pair.can_transfer) == (56, 15, True)
    result = patch_prompts(organism, pair, [2, 5], max_tokens=4, donors=4)
    assert [each.effect for each in result.results] == ["full_transfer"] * 2
    assert result.critical_layer == 2
    assert not result.caveat
    after = result.results[0]
    assert after.logit_diff is not None
    assert after.logit_diff_before is not None
    assert after.logit_diff_before < 0 < after.logit_diff
    assert after.random_donor == {"found": 0, "changed": 4, "n": 4}
    assert after.random_position["n"] == 2
    assert set(result.as_data()) >= {"model_id", "source_prompt", "source_expected", "target_prompt",
                                     "target_expected", "position", "results", "critical_layer", "summary"}  # fmt: skip
    assert "<table>" in result._repr_html_()


def test_what_is_so_by_construction_is_no_finding(organism: Subject):
    """The last layer alone, all positions at once, and one answer for both show nothing."""
    pair = answered(organism, [EQUAL], 4)[0]
    settings: dict[str, Any] = {"max_tokens": 2, "donors": 2}
    last = patch_prompts(organism, pair, [7], **settings)
    assert last.results[0].effect == "full_transfer"
    assert "layer 7 is the last" in last.caveat
    assert "the model runs the source" in patch_prompts(organism, pair, [3], "all", **settings).caveat
    equal = answered(organism, [PromptPair("2*2=", "2+2=")], 4)[0]
    found = patch_prompts(organism, equal, [3], **settings)
    assert found.results[0].effect == "no_effect"
    assert "source and target have one answer, 4" in found.caveat


def test_without_expected_answers_the_models_own_are_compared(organism: Subject):
    """The first layer that puts the source's own completion into the target's run is critical, below the last."""
    own = answered(organism, [PromptPair("The capital of France is", "The capital of Germany is")], 4)[0]
    assert (own.pair.source_answer, own.pair.target_answer) == ("Paris", "Berlin")
    logits = np.array(trace(organism, "The capital of France is").logits)[0, -1].astype(np.float64)
    assert own.source_certainty == pytest.approx(np.exp(logits.max() - np.logaddexp.reduce(logits)), rel=1e-4)
    found = patch_prompts(organism, own, [3, 4], max_tokens=2, donors=2)
    assert [result.effect for result in found.results] == ["full_transfer"] * 2
    assert (found.caveat, found.critical_layer) == ("", 3)
    measured = found.measurement()
    assert measured is not None
    assert measured.n == 1
    assert "layer 7 is the last" in patch_prompts(organism, own, [7], max_tokens=2, donors=2).caveat


def test_what_a_model_hardly_prefers_is_no_answer_of_its_own(organism: Subject):
    """An untrained model says something too, at a probability near that of any token: no layer is critical."""
    for seed in range(3):
        model = organism.untrained(seed)
        own = answered(model, [PromptPair("The capital of France is", "In Germany the")], 4)[0]
        assert max(own.source_certainty or 1, own.target_certainty or 1) < LEAST_CERTAIN
        found = patch_prompts(model, own, range(8), max_tokens=2, donors=2)
        assert "that is no answer: give the expected ones" in found.caveat
        assert found.critical_layer is None


def test_effect_that_is_gone_again_fades(organism: Subject):
    """A layer without effect above one with full transfer is marked, and named in the summary."""
    result = patch_prompts(organism, answered(organism, [EQUAL], 4)[0], [1, 2], max_tokens=2, donors=2)
    first, second = result.results
    gone = replace(result, results=_faded([first, replace(second, layer=2, effect="no_effect")]))
    assert [each.fades for each in gone.results] == [False, True]
    assert gone.as_data()["summary"] == {
        "first_effect_layer": 1,
        "full_transfer_layer": 1,
        "effect_fade_layer": 2,
    }


# A family of operands each; enough for ten in the half that confirms.
PAIRS = [PromptPair(f"{a}*{b}=", f"{a}+{b}=") for a in range(2, 8) for b in range(max(3, a), 9)]


def test_rates_find_the_layer_on_fresh_pairs(organism: Subject):
    """Rates have intervals and controls, and the layer is chosen and confirmed on different pairs."""
    found = patch_rates(organism, answered(organism, PAIRS, 2), [1, 4], max_tokens=2)
    assert len(found.pairs) == len(PAIRS)
    measured = found.rates[0]
    assert measured.score > 0.9
    assert measured.low > 0.7
    assert {control.name for control in measured.controls} == {"random_donor", "random_position"}
    assert all(control.low > 0.5 for control in measured.controls)
    assert found.chosen == 1
    assert found.confirmed is not None
    assert found.confirmed.n < len(PAIRS) * 0.6
    data = found.as_data()
    assert data["layers"][0]["effects"]["full_transfer"] == round(measured.score * len(PAIRS))
    assert len(data["pairs"]) == len(PAIRS)
    assert "<table>" in found._repr_html_()


FEW = Unrelated(("The capital of Peru is", "The cat sat on the", "I am"), ("capital", "cat", "I"))


@pytest.mark.parametrize(("position", "blend"), [("last", 1.0), (4, 0.9)])
def test_the_confirmed_patch_has_its_damage(organism: Subject, position: Any, blend: float):
    """Sources of the half that confirms are put into unrelated prompts as into targets, and a loop moves as much."""
    pairs = answered(organism, PAIRS, 2)
    found = patch_rates(organism, pairs, [1], position, blend=blend, max_tokens=2, unrelated=FEW)
    groups = np.array([pair.group for pair in pairs])
    _, rest = halves(np.arange(len(pairs), dtype=float), groups, seed=0, kind="regression")
    place, moved = -1 if position == "last" else position, []
    for text in FEW.prompts:
        if place >= len(organism.encode(text)):
            continue
        source = pairs[rest[len(moved)]].pair.source
        theirs, own = (trace(organism, each, SITE)[SITE][0, place] for each in (source, text))
        edit = patch(SITE, blend * theirs + (1 - blend) * own, positions=place)
        before, after = (
            np.array(mx.softmax(trace(organism, text, interventions=edits).logits[0, -1]), dtype=np.float64)
            for edits in ([], [edit])
        )
        moved.append(np.abs(after - before).sum() / 2)
    assert found.confirmed is not None
    assert found.confirmed.damage is not None
    assert found.confirmed.damage.n == len(moved) >= 2
    assert found.confirmed.damage.score == pytest.approx(np.mean(moved), abs=1e-5)
    assert found.damage_not_measured == ""
    assert found.as_data()["confirmed"]["damage"]["n"] == len(moved)


@pytest.mark.parametrize(
    ("position", "blend", "why"),
    [("all", 0.9, "all positions are patched"), (4, 1.0, "unrelated prompts are too short for position 4")],
)
def test_damage_that_cannot_be_told_is_said(organism: Subject, position: Any, blend: float, why: str):
    """Where prompts of other lengths do not have what is patched, that is said in place of the damage."""
    short = Unrelated(("I", "You"), ("I", "you"))
    pairs = answered(organism, PAIRS, 2)
    found = patch_rates(organism, pairs, [1], position, blend=blend, max_tokens=2, unrelated=short)
    assert found.confirmed is not None
    assert found.confirmed.damage is None
    assert why in found.damage_not_measured
    text = rates_text(found, judge_declared("patch-carries-the-answer", found.confirmed))
    assert f"\n  damage not measured: {found.damage_not_measured}" in text


def test_pairs_that_the_model_does_not_answer_are_left_out(organism: Subject):
    """An untrained model answers nothing, so that nothing can be transferred: that is said, and no rate given."""
    twin = organism.untrained(0)
    with pytest.raises(ValueError, match="gives both answers, and different ones, in 0 of 6 pairs"):
        patch_rates(twin, answered(twin, PAIRS[:6], 2), [1], max_tokens=2)
    mixed = answered(organism, [*PAIRS[:3], PromptPair("2*2=", "2+2="), PromptPair("7*7=", "7+7=", "50")], 3)
    found = patch_rates(organism, mixed, [1], max_tokens=3)
    assert (len(found.pairs), len(found.left_out)) == (3, 2)
    assert found.chosen is None  # too few to choose on one half
    assert found.caveat == ""
    everywhere = patch_rates(organism, mixed, [1], "all", max_tokens=3)
    assert (everywhere.effects == "full_transfer").all()
    assert "the model runs the source" in everywhere.caveat


def test_other_positions_can_do_something(grouped: Subject):
    """Control positions lie from the first difference on, and never at the one patched."""
    assert other_positions(encode_pairs(grouped, [PromptPair("7*8=", "7+8=")]), -1, 0) == [-3, -2]
    assert other_positions(encode_pairs(grouped, [PromptPair("7*8=", "7+8=")]), 2, 0) == [-2, -1]
    assert other_positions(encode_pairs(grouped, [PromptPair("7*8=", "7*9=")]), -1, 0) == [-2]


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        (" Berlin", " Paris", "full_transfer"),
        (" Berlin", " paris, of course", "full_transfer"),
        (" Berlin", " Berlin.", "no_effect"),
        (" Berlin", " Parisian", "corruption"),
        (" Berlin", " It is Paris", "partial_transfer"),
        (" Berlin", " Rome", "corruption"),
        (" Berlin", "", "corruption"),
        (" Paris", " Paris", "no_effect"),
    ],
)
def test_words_are_compared_whole(before: str, after: str, effect: str):
    """An answer in words comes out whole or not at all; what was there before was not transferred."""
    assert classify(before, after, PromptPair("France", "Germany", "Paris", "Berlin")) == effect
