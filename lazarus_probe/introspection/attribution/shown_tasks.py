"""Prompts that show a task by examples, with right and with shuffled outputs, and prompts that show none.

What is chosen is chosen on one half of a task's pairs, and tested on the other: no word of the test is shown before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.introspection.generation.continuation import answer_start
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.tasks.in_context import FORMS, WordTask, prompt_and_answer

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

FEWEST_PAIRS = 8
Pair = tuple[str, str]


@dataclass(frozen=True)
class TaskPrompts:
    """N prompts, and the token that should follow each.

    Attributes:
        texts: (N,) prompts as text.
        ids: (N,) their tokens, up to where the answer begins.
        answers: (N,) the first token of each answer that is more than a space.
        inputs: (N,) the words that they are about.
        outputs: (N,) the words that should follow.
    """

    texts: tuple[str, ...]
    ids: tuple[list[int], ...]
    answers: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> TaskPrompts:
        """The first prompts, at most so many."""
        return TaskPrompts(*(getattr(self, field.name)[:count] for field in fields(self)))


@dataclass(frozen=True)
class ShownTask:
    """The prompts of one task.

    Attributes:
        name: of the task.
        examples: prompts with examples, of the first half.
        shuffled: the same with the outputs of the examples in another order.
        plain: prompts without examples, of the first half.
        tested: prompts without examples, of the other half.
        left_out: pairs whose output cannot be told from their input by its first token.
    """

    name: str
    examples: TaskPrompts
    shuffled: TaskPrompts
    plain: TaskPrompts
    tested: TaskPrompts
    left_out: tuple[Pair, ...]


def shown_task(
    subject: Subject,
    task: WordTask,
    *,
    shots: int = 5,
    prompts: int = 16,
    tested: int = 24,
    form: str = FORMS[0],
    test_form: str | None = None,
    seed: int = 0,
) -> ShownTask:
    """The prompts of a task for a model.

    Args:
        subject: whose tokenizer is used.
        task: the pairs.
        shots: examples in a prompt, at least 2.
        prompts: with examples, as many with right and with shuffled outputs; and at most as many without any.
        tested: prompts of the other half, at most.
        form: of an example.
        test_form: of the prompts without examples that are tested; by default the same.
        seed: of the halves, and of the examples drawn.

    Raises:
        ValueError: fewer than 8 pairs whose output can be told from their input, more shots than a half allows, fewer
            than 2 shots, no prompts, a form that shows no example, or a tokenizer that joins an output with its prompt.
    """
    if shots < 2 or prompts < 1 or tested < 1:
        raise ValueError(
            f"{shots} shots in {prompts} prompts, {tested} tested; give at least 2 shots, to be shuffled, and 1 prompt"
        )
    kept = [pair for pair in task.pairs if _is_told(subject, pair, form)]
    if len(kept) < max(FEWEST_PAIRS, 2 * (shots + 1)):
        raise ValueError(
            f"task {task.name!r} has {len(kept)} pairs whose output can be told from its input by the first token; "
            f"{max(FEWEST_PAIRS, 2 * (shots + 1))} are needed for {shots} shots"
        )
    rng = np.random.default_rng(seed)
    first, second = halves_of_units([word for word, _ in kept], rng)
    own, others = [kept[row] for row in first], [kept[row] for row in second]
    right, shuffled = [], []
    for number in range(prompts):
        query = own[number % len(own)]
        pool = [pair for pair in own if pair != query]
        shown = [pool[row] for row in rng.choice(len(pool), shots, replace=False)]
        turn = int(rng.integers(1, shots))
        mixed = [(word, shown[(row + turn) % shots][1]) for row, (word, _) in enumerate(shown)]
        right.append((shown, query))
        shuffled.append((mixed, query))
    return ShownTask(
        task.name,
        _encoded(subject, right, form),
        _encoded(subject, shuffled, form),
        _encoded(subject, [((), pair) for pair in own[:prompts]], form),
        _encoded(subject, [((), pair) for pair in others[:tested]], form if test_form is None else test_form),
        tuple(pair for pair in task.pairs if pair not in kept),
    )


def tested_in(subject: Subject, task: ShownTask, form: str) -> ShownTask:
    """The task with its tested prompts in another form.

    Raises:
        ValueError: a form that shows no example, or a tokenizer that joins an output with its prompt.
    """
    pairs = zip(task.tested.inputs, task.tested.outputs, strict=True)
    return replace(task, tested=_encoded(subject, [((), pair) for pair in pairs], form))


def _encoded(subject: Subject, drawn: Sequence[tuple[Sequence[Pair], Pair]], form: str) -> TaskPrompts:
    texts, ids, answers = [], [], []
    for shown, query in drawn:
        prompt, answer = prompt_and_answer(shown, query, form)
        tokens, start = answer_start(subject, prompt, answer)
        texts.append(prompt)
        ids.append(tokens[:start])
        answers.append(tokens[start])
    inputs, outputs = zip(*(query for _, query in drawn), strict=True)
    return TaskPrompts(tuple(texts), tuple(ids), tuple(answers), inputs, outputs)


def _is_told(subject: Subject, pair: Pair, form: str) -> bool:
    """Whether the first token of the output is another than that of the input in its place: a copy is not right."""
    prompt, answer = prompt_and_answer((), pair, form)
    _, copy = prompt_and_answer((), (pair[0], pair[0]), form)
    first = [
        tokens[start] for tokens, start in (answer_start(subject, prompt, text) for text in (answer, copy))
    ]
    return first[0] != first[1]
