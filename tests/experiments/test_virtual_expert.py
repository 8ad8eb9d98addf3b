"""The virtual expert: who answers, what is run for it, and that an untrained model routes nothing."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from lazarus_probe.experiments.calculator import solve
from lazarus_probe.experiments.routers import NAMES, decided
from lazarus_probe.experiments.routing_scores import latency
from lazarus_probe.experiments.virtual_expert import (
    SIGNAL,
    Expert,
    Sizes,
    answer,
    class_words,
    compare,
    expert_of,
    own_answer,
    shown_by,
    sides_of,
    signal_trained,
    upto,
)
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject import NotFinite, Subject
from lazarus_probe.subject.generate import greedy
from lazarus_probe.training.dual_reward import class_tokens
from lazarus_probe.training.dual_reward_config import DualReward

PROMPTS = ["7 * 8 = ", "The capital of France is", "What's the weather in Oslo?", "712 * 341 = "]
LAYER = 4
SIZES = Sizes(trained=4, calibrated=4, per_kind=4)


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


def expert(subject: Subject, threshold: float) -> Expert:
    return Expert(class_tokens(subject, NAMES), LAYER, threshold)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_own_answers_are_greedy(organism, prompt):
    """Where the model answers, routed or not, it says what plain greedy generation says."""
    expected = greedy(organism, [prompt], 24)[0]
    assert own_answer(organism, prompt).text == expected
    passed_on = answer(organism, expert(organism, np.inf), prompt)
    assert (passed_on.text, passed_on.by) == (expected, "model")


def test_the_calculator_answers_above_the_threshold(organism):
    """Above the threshold the calculator does the likeliest word's operation; without two numbers the model answers."""
    always = expert(organism, -np.inf)
    for prompt in PROMPTS:
        words = class_words(organism, upto(organism, LAYER, prompt), always.tokens)
        result = solve(prompt, NAMES[int(words.argmax())])
        given = answer(organism, always, prompt)
        assert given.by == ("model" if result is None else "calculator")
        assert given.text == (greedy(organism, [prompt], 24)[0] if result is None else result)


def test_the_signal_is_the_lens(organism):
    """One prompt at a time or all at once, the class words' log probabilities are those of the logit lens."""
    sides = sides_of(SIZES)
    shown = shown_by(organism, sides)
    tokens = class_tokens(organism, NAMES)
    lens = logit_lens(organism, [each.prompt for each in sides.measure], [LAYER]).log_probs[:, 0]
    expected = lens[:, [tokens[name] for name in NAMES]]
    np.testing.assert_allclose(shown.measure.log_probs, expected, atol=2e-4)
    alone = class_words(organism, upto(organism, LAYER, sides.measure[0].prompt), tokens)
    np.testing.assert_allclose(alone, expected[0], atol=2e-4)


def test_a_signal_of_no_numbers_is_refused():
    """A last norm with a NaN shows no class word, one prompt at a time or all at once: the weight is named."""
    broken, sides = Subject.load("organism"), sides_of(SIZES)
    tokens, resid = class_tokens(broken, NAMES), upto(broken, LAYER, "7 * 8 = ")
    shown_by(broken, sides)
    broken.model.model.norm.weight[3] = mx.nan
    for read in (lambda: class_words(broken, resid, tokens), lambda: shown_by(broken, sides)):
        with pytest.raises(NotFinite, match=r"read from state 0 .* the weight model\.norm\.weight"):
            read()


def test_nothing_above_the_layer_is_run(organism):
    """Weights above the layer that are not computed yet stay so when the calculator answers, and no longer."""
    blocks = organism.anatomy.blocks[LAYER + 1 :]
    before = [block.parameters() for block in blocks]
    try:
        for block in blocks:
            block.update(tree_map(lambda weight: weight * 1.0, block.parameters()))
        start = mx.get_active_memory()
        assert answer(organism, expert(organism, -np.inf), "7 * 8 = ").by == "calculator"
        after_calculator = mx.get_active_memory() - start
        own_answer(organism, "7 * 8 = ")
        after_model = mx.get_active_memory() - start
    finally:
        for block, weights in zip(blocks, before, strict=True):
            block.update(weights)
    assert after_calculator < 0.2 * after_model


def test_training_leaves_no_trace(organism):
    """Within, the signal is another; afterwards the model is the one from before."""
    fingerprint = organism.fingerprint
    before = upto(organism, LAYER, "7 * 8 = ")
    with signal_trained(organism, DualReward(steps=2, batch_size=4, learning_rate=1e-2), SIZES):
        assert not mx.allclose(upto(organism, LAYER, "7 * 8 = "), before)
    assert mx.array_equal(upto(organism, LAYER, "7 * 8 = "), before)
    assert organism.fingerprint == fingerprint


def test_an_untrained_model_routes_nothing(organism):
    """The null: by the lens of an untrained model the decisions are no better than by chance."""
    twin, sides = organism.untrained(seed=1), sides_of(Sizes(calibrated=8, per_kind=8))
    shown = shown_by(twin, sides)
    routings = {each.name: each for each in compare(twin, sides, shown, shown)}
    assert not shown.right.mean() > 0.2
    assert decided(routings[SIGNAL], sides).mean() < 0.75
    assert decided(routings["regex"], sides).all()


@pytest.mark.slow
def test_an_expert_needs_a_threshold(organism):
    """A router without a threshold makes no expert."""
    sides = sides_of(SIZES)
    shown = shown_by(organism, sides)
    routings = {each.name: each for each in compare(organism, sides, shown, shown)}
    assert expert_of(organism, routings[SIGNAL]).layer == LAYER
    with pytest.raises(ValueError, match="router regex has no threshold"):
        expert_of(organism, routings["regex"])


@pytest.mark.slow
def test_latency(organism):
    """A calculator's answer takes less than the model's own; a decision takes less than the answer it is part of."""
    times = latency(organism, expert(organism, -np.inf), PROMPTS[:1], PROMPTS[1:2], rounds=9)
    assert set(times.decisions) == {"lens", "probe", "regex"}
    assert times.decisions["regex"] < times.decisions["probe"]
    assert times.decisions["regex"] < 0.1
    assert times.calculated < 1
    with pytest.raises(ValueError, match="0 prompts for the calculator, 1 for the model, 5 rounds"):
        latency(organism, expert(organism, 0.0), [], PROMPTS[:1])
