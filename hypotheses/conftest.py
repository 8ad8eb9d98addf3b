"""Training runs shared by several files: each is made once per pytest run, by the first worker that needs it."""

import os
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from filelock import FileLock

from lazarus_probe.experiments.classifier_emergence.arms import ARMS, TOGETHER, Run, equal_ranks, run_arms
from lazarus_probe.experiments.classifier_emergence.material import SMOKE, Material
from lazarus_probe.experiments.classifier_emergence.measures import arms_of, measure, parts_of
from lazarus_probe.experiments.classifier_emergence.readings import share_answered
from lazarus_probe.experiments.classifier_emergence.study import read_json, write_json
from lazarus_probe.experiments.study_tasks import TASKS
from lazarus_probe.introspection.probing.probe import probe
from lazarus_probe.tasks.wordings import worded

# The other tasks have two classes instead of four: half the items, half the steps, half the batch size.
BRIEF = replace(
    SMOKE,
    name="brief",
    per_label=SMOKE.per_label // 2,
    steps=SMOKE.steps // 2,
    batch_size=SMOKE.batch_size // 2,
    others=1,
)
PER_WORDING = 1  # questions: rows are independent where each has a wording and a family of its own
APART = 1000  # spacing of the first runs of consecutive probe seeds


@pytest.fixture(scope="session")
def trained_runs(tmp_path_factory):
    """`trained_runs(subject, arm, layer, task, first, count)`: runs of an arm, trained if not stored already.

    Six seeds are trained side by side. Runs are stored in a folder that the workers of a parallel run share. Every
    second worker begins with the last seeds, so that two workers that need the same arm split the work.
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


@pytest.fixture
def probed(subject, untrained_models, activations, evidence):
    """`probed(dataset, site, kind=...)`: the probe of the subject, with the control models that this claim needs.

    What the other cases of a claim read `also` is collected in the same passes.
    """

    def run(dataset, site, kind="classification", also=()):
        return probe(
            subject,
            untrained_models,
            dataset,
            site,
            kind=kind,
            store=activations,
            seed=evidence.seed,
            claim=evidence.settles,
            also=also,
        )

    return run


@pytest.fixture
def operation_questions(probe_seed):
    """A question in every wording of an operation: one draw, so that claims about them share a pass."""
    return questions_in_words(probe_seed)


def questions_in_words(seed):
    """The questions of `operation_questions`."""
    return worded(np.random.default_rng(seed), PER_WORDING)


@cache
def material(task):
    """The training and held-out items that all arms of a task share."""
    return Material.of(TASKS[task], SMOKE if task == "arithmetic" else BRIEF)


@pytest.fixture(scope="session")
def once():
    """`once(name, subject, task, make)`: caches a value per model and task, without keeping the model alive."""
    cache = {}

    def get(name, subject, task, make):
        key = (name, subject.fingerprint, task)
        if key not in cache:
            cache[key] = make()
        return cache[key]

    return get


def parts(arm, task, run):
    """The parts of a reading besides the lens; for the other tasks all claims are about the lens."""
    if task == "arithmetic":
        return parts_of(arm, run)
    return {"answered"} if arm == "none" else ()


@pytest.fixture
def first_run(probe_seed):
    """The number of the probe seed's first training run: no two probe seeds share a run."""
    return probe_seed * APART


@pytest.fixture
def measured(subject, evidence, trained_runs, first_run, once):
    """Measures the arms of a claim of `classifier_emergence`, on a model that can answer."""
    claim = evidence.claim
    task = claim.parameters.get("task", "arithmetic")
    shared = material(task)
    layer = claim.layer_for(subject.name, subject.num_layers)
    require(evidence, lambda: shared.tokens(subject))
    needed = claim.parameters["answered"]
    share, count = once(("share", needed), subject, task, lambda: share_answered(subject, shared, needed))
    asked = f"{count} of the {len(shared.held_out)} held-out prompts"
    evidence.require(share >= needed, f"answers {share:.2f} of {asked}; {needed:.2f} needed")
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
    """State as a precondition that the class words are tokens of the model and that it has the trained projections."""
    try:
        make()
    except ValueError as error:
        evidence.require(False, str(error))
