"""Can the classifier signal decide when a calculator answers, and is it a better router than simpler ones?

One training per seed serves all claims. Decisions and answers are measured on a mixture of arithmetic, with operands
inside and outside the model's training range, and other tasks, in held-out phrasings.
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
NUMBER_TOKENS = 12  # a number of any tokenizer, and a few words before it


@pytest.fixture(scope="module")
def runs_by_model():
    """The routings of each model's training runs, computed once for all claims."""
    return {}


@pytest.fixture
def routings(subject, evidence, runs_by_model, first_run):
    """The prompts, and the routings of each training run, on a model that can answer."""
    claim, parameters = evidence.claim, evidence.claim.parameters
    layer = claim.layer_for(subject.name, subject.num_layers)
    sizes = Sizes(per_kind=parameters["per_kind"])
    sides = sides_of(sizes)
    share, needed = answered(subject, sides), parameters["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the symbolic questions; {needed:.2f} needed")
    key = (subject.name, first_run)
    if key not in runs_by_model:
        settings = {name: parameters[name] for name in ("steps", "batch_size", "learning_rate")}
        seeds = [first_run + seed for seed in parameters["seeds"]]
        configs = [DualReward(classifier_layer=layer, seed=seed, **settings) for seed in seeds]
        base = read(subject, sides, layer, evidence)
        runs_by_model[key] = [run(subject, sides, base, layer, config, sizes) for config in configs]
    return sides, runs_by_model[key]


def answered(subject, sides):
    """The share of symbolic questions that the model answers before training."""
    symbolic = [example for example in sides.measure if example.kind == "symbolic"]
    completions = greedy(subject, [example.prompt for example in symbolic], NUMBER_TOKENS)
    return float(
        np.mean([is_right(example, text) for example, text in zip(symbolic, completions, strict=True)])
    )


def read(subject, sides, layer, evidence):
    """The model's readouts before training, if the class words are tokens of it."""
    try:
        return shown_by(subject, sides, layer)
    except ValueError as error:
        evidence.require(False, str(error))


def run(subject, sides, base, layer, config, sizes):
    """All routers, by name, after one training."""
    with signal_trained(subject, config, sizes):
        routings = compare(subject, sides, base, shown_by(subject, sides, layer))
    return {routing.name: routing for routing in routings}


def measured(unit, metric, routings, evidence):
    """A router's mean over phrasings, which are the independent units, and over runs; with the claim's controls."""
    sides, runs = routings
    scores = {
        name: np.stack([metric(run_routings[name], sides) for run_routings in runs])
        for name in (SIGNAL, *evidence.claim.controls)
    }
    templates = np.tile([example.template for example in sides.measure], len(runs))
    signal = scores.pop(SIGNAL)
    controls = {name: values.ravel() for name, values in scores.items()}
    details = {
        "by_seed": signal.mean(axis=1).round(3).tolist(),
        "thresholds": [run_routings[SIGNAL].threshold for run_routings in runs],
    }
    return rate(unit, signal.ravel(), templates, controls, seed=evidence.seed, details=details)


def answers(routing, _sides):
    """Whether each prompt is answered correctly."""
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
