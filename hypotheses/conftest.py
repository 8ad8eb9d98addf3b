"""Trainings that several files ask for: each once a session, for every model, task, arm and seed."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lazarus_probe.experiments.classifier_emergence.arms import ARMS, equal_ranks, run_arm
from lazarus_probe.experiments.classifier_emergence.material import SMOKE, Material
from lazarus_probe.experiments.classifier_emergence.measures import arms_of, measure, parts_of
from lazarus_probe.experiments.classifier_emergence.readings import answered
from lazarus_probe.experiments.study_tasks import TASKS

SEEDS = range(5)
# The other tasks have two classes, which take fewer steps and items.
BRIEF = replace(SMOKE, name="brief", per_label=100, steps=32, others=1)


@pytest.fixture(scope="session")
def trained_runs():
    """`trained_runs(subject, arm, layer, task)`: the runs of an arm, at smoke size, trained unless they were before."""
    known = {}

    def runs(subject, arm, layer, task="arithmetic"):
        key = (subject.name, arm, layer, task)
        if key not in known:
            seeds = SEEDS if arm != "none" else [0]
            given = (material(task), layer)
            known[key] = [run_arm(subject, arm, *given, seed, parts(arm, task)) for seed in seeds]
        return known[key]

    return runs


@cache
def material(task):
    """What all arms of a task train on and are read on."""
    return Material.of(TASKS[task], SMOKE if task == "arithmetic" else BRIEF)


@cache
def answers_right(subject, task):
    """The share of the held-out items that a model answers before any training."""
    return float(np.mean(answered(subject, material(task))))


def parts(arm, task):
    """What is read beside the lens; of the other tasks the lens is all that is claimed about."""
    if task == "arithmetic":
        return parts_of(arm)
    return {"answered"} if arm == "none" else ()


@pytest.fixture
def measured(subject, evidence, trained_runs):
    """What the arms of a claim of `classifier_emergence` come to, on a model that can answer."""
    claim = evidence.claim
    task = claim.parameters.get("task", "arithmetic")
    shared = material(task)
    layer = claim.layer_for(subject.name, subject.num_layers)
    require(evidence, lambda: shared.tokens(subject))
    share, needed = answers_right(subject, task), claim.parameters["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the held-out prompts; {needed:.2f} needed")
    targets = {ARMS[arm].targets for arm in arms_of(claim)} - {()}
    require(evidence, lambda: [equal_ranks(subject, each, shared) for each in targets])
    runs = {arm: trained_runs(subject, arm, layer, task) for arm in arms_of(claim)}
    labels = [item.label for item in shared.held_out]
    size = {"size": shared.size.name, "steps": shared.size.steps}
    details = {"layer": layer, **size, "base_answers_right": share}
    return measure(claim, runs, evidence.seed, labels, details)


def require(evidence, make):
    """State as a precondition that the model has what is trained: class words that are tokens, and projections."""
    try:
        make()
    except ValueError as error:
        evidence.require(False, str(error))
