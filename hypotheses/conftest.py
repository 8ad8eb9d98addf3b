"""Trainings that several files ask for: each once a run of pytest, by whichever worker comes to it first."""

import os
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from filelock import FileLock

from lazarus_probe.experiments.classifier_emergence.arms import ARMS, TOGETHER, Run, equal_ranks, run_arms
from lazarus_probe.experiments.classifier_emergence.material import SMOKE, Material
from lazarus_probe.experiments.classifier_emergence.measures import arms_of, measure, parts_of
from lazarus_probe.experiments.classifier_emergence.readings import answered
from lazarus_probe.experiments.classifier_emergence.study import read_json, write_json
from lazarus_probe.experiments.study_tasks import TASKS

# The other tasks have two classes and not four: half of the items, of the steps, and of the items of a step.
BRIEF = replace(
    SMOKE,
    name="brief",
    per_label=SMOKE.per_label // 2,
    steps=SMOKE.steps // 2,
    batch_size=SMOKE.batch_size // 2,
    others=1,
)
APART = 1000  # runs between the first of a probe seed and the first of the next


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory):
    """`trained_runs(subject, arm, layer, task, first, count)`: runs of an arm, trained unless they were before.

    Six seeds are trained side by side. Runs lie in a folder that the workers of a parallel run share. Every other
    worker begins with the last seeds, so that two which need the same arm train it together.
    """
    folder, worker = tmp_path_factory.getbasetemp(), os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "trained_runs"
    folder.mkdir(exist_ok=True)
    backwards = int(worker.removeprefix("gw")) % 2 == 1

    def together(subject, arm, layer, task, seeds):
        read = parts(arm, task, seeds[0] % APART)
        path = folder / f"{subject.fingerprint[:16]}-{task}-{arm}-{layer}-{seeds[0]}-{seeds[-1]}.json"
        with FileLock(f"{path}.lock"):
            if not path.exists():
                runs = run_arms(subject, arm, material(task), layer, seeds, read)
                write_json(path, [run.as_dict() for run in runs])
        return [Run.from_dict(run) for run in read_json(path)]

    def runs(subject, arm, layer, task="arithmetic", first=0, count=TOGETHER):
        if arm == "none":
            return together(subject, arm, layer, task, range(1))
        end = first + count
        starts = range(first, end, TOGETHER)
        groups = {
            start: together(subject, arm, layer, task, range(start, min(start + TOGETHER, end)))
            for start in (reversed(starts) if backwards else starts)
        }
        return [run for start in starts for run in groups[start]]

    return runs


@cache
def material(task):
    """What all arms of a task train on and are read on."""
    return Material.of(TASKS[task], SMOKE if task == "arithmetic" else BRIEF)


@pytest.fixture(scope="session")
def once():
    """`once(what, subject, task, make)`: what is made for a model, which need not be kept for it."""
    known = {}

    def get(what, subject, task, make):
        key = (what, subject.fingerprint, task)
        if key not in known:
            known[key] = make()
        return known[key]

    return get


def parts(arm, task, run):
    """What is read beside the lens; of the other tasks the lens is all that is claimed about."""
    if task == "arithmetic":
        return parts_of(arm, run)
    return {"answered"} if arm == "none" else ()


@pytest.fixture
def first_run(probe_seed):
    """The number of the probe seed's first training run: no two probe seeds share a run."""
    return probe_seed * APART


@pytest.fixture
def measured(subject, evidence, trained_runs, first_run, once):
    """What the arms of a claim of `classifier_emergence` come to, on a model that can answer."""
    claim = evidence.claim
    task = claim.parameters.get("task", "arithmetic")
    shared = material(task)
    layer = claim.layer_for(subject.name, subject.num_layers)
    require(evidence, lambda: shared.tokens(subject))
    share = once("share", subject, task, lambda: float(np.mean(answered(subject, shared))))
    needed = claim.parameters["answered"]
    evidence.require(share >= needed, f"answers {share:.2f} of the held-out prompts; {needed:.2f} needed")
    for targets in {ARMS[arm].targets for arm in arms_of(claim)} - {()}:
        require(
            evidence, lambda of=targets: once(of, subject, task, lambda: equal_ranks(subject, of, shared))
        )
    count = claim.parameters["runs"]
    runs = {arm: trained_runs(subject, arm, layer, task, first_run, count) for arm in arms_of(claim)}
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
