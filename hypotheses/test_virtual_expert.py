"""Can the classifier signal decide when a calculator answers, and is it a better router than what is simpler?

Trained once a seed for all claims. What is measured are decisions and answers on a mixture of arithmetic, of operands
that the model knows and larger ones, and other tasks, in wordings that nothing was fitted on.
"""

import numpy as np
import pytest

from lazarus_probe.experiments.mixture import is_right
from lazarus_probe.experiments.routers import decided
from lazarus_probe.experiments.virtual_expert import (
    SIGNAL,
    Sizes,
    compare,
    shown_by,
    sides_of,
    signal_trained,
)
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.generate import greedy
from lazarus_probe.training.dual_reward_config import DualReward

pytestmark = pytest.mark.training
NUMBER_TOKENS = 4


@pytest.fixture(scope="module")
def known():
    """What each model came to, measured once for all claims."""
    return {}


@pytest.fixture
def routings(subject, evidence, known, first_run):
    """The prompts, and the routings of each training run, on a model that can answer."""
    claim, given = evidence.claim, evidence.claim.parameters
    layer = claim.layer_for(subject.name, subject.num_layers)
    sizes = Sizes(per_kind=given["per_kind"])
    sides = sides_of(sizes)
    share, needed = answered(subject, sides), given["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the symbolic questions; {needed:.2f} needed")
    key = (subject.name, first_run)
    if key not in known:
        settings = {name: given[name] for name in ("steps", "batch_size", "learning_rate")}
        seeds = [first_run + seed for seed in given["seeds"]]
        configs = [DualReward(classifier_layer=layer, seed=seed, **settings) for seed in seeds]
        base = read(subject, sides, layer, evidence)
        known[key] = [run(subject, sides, base, layer, config, sizes) for config in configs]
    return sides, known[key]


def answered(subject, sides):
    """The share of symbolic questions that the model answers before training."""
    symbolic = [asked for asked in sides.measure if asked.kind == "symbolic"]
    said = greedy(subject, [asked.prompt for asked in symbolic], NUMBER_TOKENS)
    return float(np.mean([is_right(asked, text) for asked, text in zip(symbolic, said, strict=True)]))


def read(subject, sides, layer, evidence):
    """What the model shows before training, if the class words are tokens of it."""
    try:
        return shown_by(subject, sides, layer)
    except ValueError as error:
        evidence.require(False, str(error))


def run(subject, sides, base, layer, config, sizes):
    """All routers, by name, after one training."""
    with signal_trained(subject, config, sizes):
        found = compare(subject, sides, base, shown_by(subject, sides, layer))
    return {routing.name: routing for routing in found}


def measured(unit, what, routings, evidence):
    """A router's mean over wordings, which are the independent units, and over runs; with the claim's controls."""
    sides, runs = routings
    scores = {
        name: np.stack([what(each[name], sides) for each in runs])
        for name in (SIGNAL, *evidence.claim.controls)
    }
    templates = np.tile([asked.template for asked in sides.measure], len(runs))
    signal = scores.pop(SIGNAL)
    controls = {name: values.ravel() for name, values in scores.items()}
    details = {
        "by_seed": signal.mean(axis=1).round(3).tolist(),
        "thresholds": [each[SIGNAL].threshold for each in runs],
    }
    return rate(unit, signal.ravel(), templates, controls, seed=evidence.seed, details=details)


def answers(routing, _sides):
    """Whether each prompt is answered right."""
    return routing.answered


@pytest.mark.claim("classifier-signal-routes-arithmetic")
def test_routes(routings, evidence):
    evidence.record(measured("share of decisions right", decided, routings, evidence))


@pytest.mark.claim("virtual-expert-answers-more")
def test_answers(routings, evidence):
    evidence.record(measured("share of answers right", answers, routings, evidence))


@pytest.mark.claim("classifier-signal-beats-other-routers")
def test_beats(routings, evidence):
    evidence.record(measured("share of answers right", answers, routings, evidence))
