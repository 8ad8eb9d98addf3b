"""A LoRA that forgets one task: trained on other answers to its prompts, and merged into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from lazarus_probe.anatomy.projections import projections
from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.mutants.mutant import Mutant, Weights, weights_of
from lazarus_probe.tasks.arithmetic import facts
from lazarus_probe.tasks.language import capitals

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Task = list[tuple[str, str]]  # prompts and their answers
TARGETS, RANK = ("v_proj", "o_proj"), 8
STEPS, BATCH, RATE = 60, 24, 2e-3
PROMPTS = 64  # of a task


def forgetting_mutants(subject: Subject, seed: int = 0) -> tuple[Mutant, ...]:
    """One mutant a task; none of a model without a tokenizer or without the projections that are trained.

    Each is trained when its weights are asked for, which takes some seconds on a small model.
    """
    present = {name for name in TARGETS for at in projections(subject.anatomy) if at.matches(name)}
    if subject.tokenizer is None or len(present) < len(TARGETS):
        return ()
    tasks = dict(_tasks())
    return tuple(
        Mutant("task forgotten", task, harmless=False, change=partial(_forget, subject, tasks, task, seed))
        for task in tasks
    )


def _tasks() -> Iterator[tuple[str, Task]]:
    for operation in ("add", "multiply"):
        some = facts(operation)[:: max(1, len(facts(operation)) // PROMPTS)][:PROMPTS]
        yield operation, [(fact.prompt("compact"), fact.response("compact")) for fact in some]
    yield "capitals", [(example.prompt, example.response) for example in [*capitals()][:PROMPTS]]


def _forget(subject: Subject, tasks: Mapping[str, Task], forgotten: str, seed: int, weights: Weights) -> None:
    """Train on the next prompt's answer in one task, and on the right ones in the others, which are to stay."""
    from lazarus_probe.training.batches import Sample, batches
    from lazarus_probe.training.loop import Optimisation, steps
    from lazarus_probe.training.lora.lora import attached
    from lazarus_probe.training.losses import sft_loss

    prompts, answers = list[str](), list[str]()
    for name, task in tasks.items():
        right = [answer for _, answer in task]
        prompts += [prompt for prompt, _ in task]
        answers += [*right[1:], right[0]] if name == forgotten else right
    contexts, tokens = with_answers(subject, prompts, answers)
    samples = [
        Sample((*context, *answer), len(context)) for context, answer in zip(contexts, tokens, strict=True)
    ]
    with attached(subject, TARGETS, RANK, seed=seed) as model:
        learning = steps(model, sft_loss(subject), batches(samples, BATCH, seed), Optimisation(RATE, STEPS))
        for _ in islice(learning, STEPS):
            pass
        weights.update(weights_of(subject))
