"""What an edit does to unrelated prompts, against distributions computed by hand, and edits that do nothing or all."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.interventions import patch, scale, steer, zero
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.generation.damage import (
    Unrelated,
    damage,
    damage_of_patch,
    damages,
    total_variation,
    unrelated_prompts,
)
from lazarus_probe.introspection.patching.injection import inject
from lazarus_probe.introspection.steering.vectors import SteeringVectors, steered_completions
from lazarus_probe.tasks import language

SITE = Site("resid_post", 2)
FEW = Unrelated(("1 + 2", "cab", "7 * 8 =", "car a cab"), ("sum", "word", "product", "words"))


def everywhere(edits):
    """Edits that are the same on every prompt."""
    return lambda _rows, _length: edits


def next_token(subject, prompt, edits=()):
    logits = trace(subject, prompt, interventions=edits).logits[0, -1].astype(mx.float32)
    return np.array(mx.softmax(logits), dtype=np.float64)


def test_damage_is_the_probability_moved(grouped):
    """It is half the summed change of the next token's probabilities, prompt by prompt, whatever their lengths."""
    push = 3 * np.random.default_rng(0).normal(size=32).astype(np.float32)
    found = damage(grouped, lambda _, length: [steer(SITE, push, positions=length - 1)], FEW)
    moved = [
        np.abs(next_token(grouped, text, steer(SITE, push, positions=-1)) - next_token(grouped, text)).sum()
        / 2
        for text in FEW.prompts
    ]
    assert found.score == pytest.approx(np.mean(moved), abs=1e-5)
    assert 0 <= found.low <= found.score <= found.high <= 1
    assert found.n == 4


def test_each_prompt_gets_its_state(grouped):
    """States are put in prompt by prompt, in turn where there are fewer, at a position counted from the end."""
    states = 3 * np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    found = damage_of_patch(grouped, states, SITE, -2, FEW)
    moved = []
    for row, text in enumerate(FEW.prompts):
        logits = trace(grouped, text, interventions=replaced(states[row % 3])).logits[0, -1]
        moved.append(np.abs(np.array(mx.softmax(logits)) - next_token(grouped, text)).sum() / 2)
    assert found.score == pytest.approx(np.mean(moved), abs=1e-5)


def replaced(state):
    return patch(SITE, state, positions=-2)


@pytest.mark.parametrize(("position", "blend"), [(-1, 1.0), (3, 1.0), (-2, 0.25), (3, 0.0)])
def test_a_patch_is_the_loop_of_plain_runs(grouped, position, blend):
    """Sources' states are mixed into prompts that have the position, one source after the other, as a loop does."""
    sources = ["7*8=", "45+3="]
    found = damage_of_patch(grouped, sources, SITE, position, FEW, blend=blend)
    moved = []
    for text in FEW.prompts:
        length = len(grouped.encode(text))
        if not -length <= position < length:
            continue
        theirs = trace(grouped, sources[len(moved) % 2], SITE)[SITE][0, position]
        own = trace(grouped, text, SITE)[SITE][0, position]
        edit = patch(SITE, blend * theirs + (1 - blend) * own, positions=position)
        moved.append(np.abs(next_token(grouped, text, edit) - next_token(grouped, text)).sum() / 2)
    assert found.n == len(moved) == (3 if position == 3 else 4)
    assert found.score == pytest.approx(np.mean(moved), abs=1e-5)
    assert (found.score < 1e-6) == (blend == 0)


def test_several_edits_are_each_alone(grouped):
    """Damages of several edits are those of one after the other."""
    edits = [zero("mlp_out.1"), scale(SITE, 1.0), scale(SITE, 3.0)]
    found = damages(
        grouped, [lambda _rows, _length, edit=edit: hooked(grouped, (), edit) for edit in edits], FEW
    )
    assert found == [damage(grouped, everywhere([edit]), FEW) for edit in edits]
    assert [each.score > 0 for each in found] == [True, False, True]


def test_nothing_done_is_no_damage(grouped):
    """An edit that changes nothing moves nothing, on a model of chance weights as on any other."""
    found = damage(grouped, everywhere([scale(SITE, 1.0)]), FEW)
    assert found.score == found.low == 0


def test_a_broken_model_is_all_damage(organism):
    """Without its first MLP the organism says something else everywhere; without a later one it hardly does."""
    broken, spared = (damage(organism, everywhere([zero(f"mlp_out.{layer}")])) for layer in (0, 3))
    assert broken.low > 0.9
    assert spared.high < 0.1


def test_distances_are_those_of_distributions():
    """Equal distributions are 0 apart, disjoint ones 1, and of a half that moves it is a half."""
    first = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    second = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    assert total_variation(first, second).tolist() == [0, 1, 0.5]


def test_unrelated_prompts_are_of_other_tasks():
    """One of each phrasing, none of the tasks left out, and sentences without their last word."""
    every, others = unrelated_prompts(), unrelated_prompts(("refusal", "help", "tool"))
    assert len(every.prompts) == len(set(every.units)) == 48
    left_out = {example.prompt for example in (*language.requests(), *language.tool_calls())}
    assert not left_out & set(others.prompts)
    assert left_out & set(every.prompts)
    assert "The sun is bright and the sky is" in every.prompts
    assert unrelated_prompts(seed=1) != every
    assert unrelated_prompts(seed=0) == every


def test_what_cannot_be_told_is_refused(grouped):
    """An unknown task, no phrasings left, and prompts too short for the position are named."""
    with pytest.raises(ValueError, match="unknown tasks sums; they are capital, english"):
        unrelated_prompts(("sums",))
    with pytest.raises(ValueError, match="0 phrasings are left"):
        unrelated_prompts(("capital", "sentiment", "tool", "refusal", "help", "english"))
    with pytest.raises(
        ValueError, match="0 units of unrelated prompts have a position -9; give at least two"
    ):
        damage_of_patch(grouped, np.zeros((1, 32)), SITE, -9, FEW)
    with pytest.raises(ValueError, match="1 units of unrelated prompts; give at least two"):
        damage(grouped, everywhere([]), Unrelated(("1", "2"), ("sum", "sum")))


HUGE = scale("resid_post.2", 1e38)


@pytest.mark.parametrize(
    "run",
    [
        lambda model: greedy_completions(model, ["1 + 2"], [HUGE]),
        lambda model: damage(model, everywhere([HUGE]), FEW),
        lambda model: inject(model, ["1 + 2"], np.full((1, 32), np.nan, np.float32), SITE),
        lambda model: steered_completions(
            model, ["1 + 2"], SteeringVectors(2, np.full((1, 32), np.inf, np.float32), "last"), 2
        ),
    ],
    ids=["ablation", "damage", "injection", "steering"],
)
def test_logits_that_are_not_finite_are_refused(grouped, run):
    """An edit that leaves nothing to choose a token by is refused by its name and site, and not taken for token 0."""
    with pytest.raises(
        ValueError,
        match=r"logits of \w+ are not finite under (scale|patch|steer) at resid_post\.2: .* at resid_post\.2; give a",
    ):
        run(grouped)


def test_a_model_that_is_not_finite_is_refused(make_llama, tokenizer):
    """Weights that are no numbers are named as the model's own, without any edit."""
    from lazarus_probe.subject import Subject

    model = make_llama(3)
    model.model.norm.weight = model.model.norm.weight * mx.nan
    with pytest.raises(
        ValueError, match=r"not finite: the weight model.norm.weight holds 32 of 32 numbers that are not"
    ):
        greedy_completions(Subject.from_model(model, tokenizer, "nan"), ["1 + 2"])
