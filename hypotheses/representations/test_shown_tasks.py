"""Does a sum of a few heads carry what a task is, from prompts that show it to prompts that do not?

The heads with the largest effect of hundreds are large by chance too, and a vector that names the outputs needs no
task. So heads and layer are chosen on half of the words and held to the other half, compared with vectors of
shuffled examples, of all outputs and of the other tasks. That the form does not matter is an assumption, tested alone.
"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.function_vectors import (
    function_vectors,
    in_another_form,
    task_carried,
)
from lazarus_probe.introspection.attribution.shown_tasks import shown_task
from lazarus_probe.tasks.in_context import FORMS, WORD_TASKS


@pytest.fixture(scope="session")
def kept():
    """The vectors of a model, by seed: two claims are about the same."""
    return {}


@pytest.fixture
def vectors(subject, evidence, kept, probe_seed):
    """Function vectors of the tasks that the model does from examples."""
    declared = dict(evidence.claim.parameters)
    needed, key = declared.pop("tasks"), (subject.fingerprint, probe_seed, *sorted(declared.items()))
    tasks = list(drawable(subject, declared["shots"]))
    evidence.require(
        len(tasks) >= needed,
        f"tells output from input by the first token in {len(tasks)} of {len(WORD_TASKS)} tasks; {needed} needed",
    )
    if key not in kept:
        kept.clear()  # of another model
        try:
            kept[key] = function_vectors(subject, tasks, seed=probe_seed, **declared)
        except (UnsupportedArchitecture, ValueError) as error:
            kept[key] = str(error)
    if isinstance(kept[key], str):
        evidence.require(False, kept[key])
    shares = ", ".join(f"{name} {share:.2f}" for name, share in kept[key].left_out.items())
    evidence.require(
        len(kept[key].tasks) >= needed,
        f"does {len(kept[key].tasks)} of {len(tasks)} tasks from examples ({shares}); {needed} needed",
    )
    return kept[key]


def drawable(subject, shots):
    """The tasks that a tokenizer leaves enough words of."""
    for task in WORD_TASKS.values():
        try:
            shown_task(subject, task, shots=shots)
        except ValueError:
            continue
        yield task


@pytest.mark.claim("function-vector-carries-task")
def test_carried(subject, untrained_models, evidence, vectors):
    evidence.record(task_carried(subject, untrained_models, vectors, claim=evidence.settles))


@pytest.mark.claim("function-vector-holds-in-another-form")
def test_other_form(subject, untrained_models, evidence, vectors):
    evidence.record(
        task_carried(
            subject, untrained_models, in_another_form(subject, vectors, FORMS[1]), claim=evidence.settles
        )
    )
