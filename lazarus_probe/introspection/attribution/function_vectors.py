"""Function vectors: what a few heads say where a task is shown by examples, added where none are shown.

Todd et al. 2024 (arXiv:2310.15213). The heads are those that bring the task to prompts with shuffled examples, the
vector is the sum of their mean outputs, and the layer is that at which it does most. All three are found on one half of
the pairs; what the vector does is measured on the other, compared with vectors of the same heads from shuffled
examples, of the task's outputs alone, of other tasks, and with random ones of equal norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.interventions import Intervention, steer
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.attribution.shown_tasks import ShownTask, shown_task, tested_in
from lazarus_probe.introspection.attribution.task_vectors import (
    NONE,
    VECTOR,
    Search,
    TaskVectors,
    make_vectors,
    tested_vectors,
    vectors_of_control,
    with_vectors,
)
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.statistics.measurement import Damage, Measurement, some_examples
from lazarus_probe.statistics.model_spread import FEWEST
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Column, Table
from lazarus_probe.tasks.in_context import FORMS, WordTask

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

UNIT = "share of prompts without examples that are answered with the vector"


@dataclass(frozen=True, eq=False)
class FunctionVectors:
    """Function vectors of T tasks, and what they do on N prompts without examples.

    Attributes:
        tasks: (T,) with their prompts.
        left_out: by name of a task that is not among them, the share that is answered with examples.
        made: heads, layer and vectors.
        right: by name of a vector (N,) whether the answer comes first, or (M, N) of M of a kind.
        probability: by name (N,), or (M, N), of the answer.
        units: (N,) the words that the prompts are about.
        damage: of the vectors, taken in turn, on unrelated prompts.
        seed: of halves, examples, random directions and intervals.
        of_controls: by fingerprint (T, D) the vectors of control models, each made once.
    """

    tasks: tuple[ShownTask, ...]
    left_out: Mapping[str, float]
    made: TaskVectors
    right: Mapping[str, NDArray[Any]]
    probability: Mapping[str, NDArray[Any]]
    units: tuple[str, ...]
    damage: Damage | None
    seed: int
    of_controls: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @property
    def heads(self) -> tuple[tuple[int, int], ...]:
        """Layer and head of those chosen, the largest effect first."""
        return tuple((site.layer or 0, site.head or 0) for site in self.made.heads)

    def measurement(
        self, controls: Mapping[str, Any] | None = None, left_out: tuple[str, ...] = ()
    ) -> Measurement:
        """The share answered with the vector, its gain over the other vectors and over more controls."""
        own = {name: values for name, values in self.right.items() if name != VECTOR}
        texts = [text for task in self.tasks for text in task.tested.texts]
        return rate(
            UNIT,
            self.right[VECTOR],
            self.units,
            {**own, **(controls or {})},
            seed=self.seed,
            details={
                "heads": [f"L{layer} head {head}" for layer, head in self.heads],
                "layer": self.made.layer,
                "with_examples": {
                    task.name: float(share)
                    for task, share in zip(self.tasks, self.made.with_examples, strict=True)
                },
                "by_task": self.by_task(VECTOR),
                "by_task_without": self.by_task(NONE),
            },
            examples=some_examples(
                texts,
                [word for task in self.tasks for word in task.tested.outputs],
                ["the answer" if right else "another token" for right in self.right[VECTOR]],
                self.right[VECTOR],
            ),
            damage=self.damage,
            unmeasured=left_out,
        )

    def by_task(self, name: str) -> dict[str, float]:
        """By task the share that is answered with a vector."""
        ends = np.cumsum([len(task.tested) for task in self.tasks])[:-1]
        parts = np.split(np.asarray(self.right[name], dtype=float), ends, axis=-1)
        return {task.name: float(part.mean()) for task, part in zip(self.tasks, parts, strict=True)}

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        made = self.made
        return {
            "n": len(self.units),
            "seed": self.seed,
            "layer": made.layer,
            "layers": list(made.layers),
            "heads": [
                {"layer": layer, "head": head, "effect": float(made.effects[:, number].mean())}
                for (layer, head), number in zip(
                    self.heads, [made.sites.index(site) for site in made.heads], strict=True
                )
            ],
            "effects": {str(site): made.effects[:, row].tolist() for row, site in enumerate(made.sites)},
            "tasks": [
                {
                    "name": task.name,
                    "pairs": len(task.plain) + len(task.tested),
                    "left_out": [list(pair) for pair in task.left_out],
                    "with_examples": float(made.with_examples[row]),
                    "by_layer": made.by_layer[row].tolist(),
                    "norm": float(np.linalg.norm(made.vectors[row])),
                    "right": {name: self.by_task(name)[task.name] for name in self.right},
                }
                for row, task in enumerate(self.tasks)
            ],
            "tasks_left_out": dict(self.left_out),
            "right": {name: np.asarray(values).astype(int).tolist() for name, values in self.right.items()},
            "probability": {name: values.tolist() for name, values in self.probability.items()},
            "measurement": self.measurement().as_dict(),
            "damage": None if self.damage is None else asdict(self.damage),
        }

    def table(self) -> Table:
        """By vector the share answered, by task and in all, and what the function vector gains over it."""
        gains = {control.name: control for control in self.measurement().controls}
        columns = (
            Column("Vector", width=17),
            *(Column(task.name, ".2f", right=True) for task in self.tasks),
            Column("All", ".2f", right=True),
            Column("Probability", ".3f", right=True),
            Column("Function vector gains", width=24),
        )
        rows = []
        for name, values in self.right.items():
            control = gains.get(name)
            gained = (
                "" if control is None else f"{control.gain:+.2f} [{control.low:+.2f}, {control.high:+.2f}]"
            )
            rows.append(
                (
                    "function vector" if name == VECTOR else name.replace("_", " "),
                    *self.by_task(name).values(),
                    float(np.mean(values)),
                    float(np.mean(self.probability[name])),
                    gained,
                )
            )
        return Table(columns, rows, f"answers to {len(self.units)} prompts without examples")

    def _repr_html_(self) -> str:
        return self.table().html()


def function_vectors(
    subject: Subject,
    tasks: Sequence[WordTask],
    *,
    top: int | None = None,
    shots: int = 5,
    prompts: int = 16,
    searched: int = 4,
    tested: int = 24,
    layers: Sequence[int] | None = None,
    form: str = FORMS[0],
    test_form: str | None = None,
    known: float = 0.0,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FunctionVectors:
    """Find the function vectors of tasks on half of their pairs, and add them to prompts without examples of the rest.

    Args:
        subject: the model.
        tasks: pairs of words; heads and layer are chosen over all of them.
        top: how many heads are summed; by default one in 25.
        shots: examples in a prompt.
        prompts: with examples, of each task; as many with shuffled ones.
        searched: of those with shuffled examples, how many of each task every head is patched in.
        tested: prompts of the other half of the pairs, at most, of each task.
        layers: after which the vector is tried; by default six evenly spaced ones.
        form: of an example, with `{input}` before `{output}`.
        test_form: of the prompts that are tested, if another.
        known: share of prompts with examples that must be answered for a task to count.
        unrelated: prompts for the damage; by default those of the language tasks other than capitals.
        seed: of halves, examples, random directions and intervals.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: no block adds its heads to the residual stream as they are, or the unembedding can't
            be read.
        ValueError: as `shown_task`; no tasks, two of one name, none that is known, or more heads than there are.
        IndexError: a layer that does not exist.

    Example:
        >>> from lazarus_probe.introspection import function_vectors
        >>> from lazarus_probe.tasks import WordTask
        >>> capitals = "France Paris|Germany Berlin|Italy Rome|Spain Madrid|Japan Tokyo|Egypt Cairo|Cuba Havana"
        >>> capitals += "|Russia Moscow"
        >>> task = WordTask("capital", tuple(tuple(pair.split()) for pair in capitals.split("|")))
        >>> result = function_vectors(subject, [task], top=1, shots=2, prompts=4, layers=[2, 4])
        >>> len(result.heads), result.made.vectors.shape, list(result.right)[:3]
        (1, (1, 128), ['vector', 'zero_shot', 'shuffled_labels'])
    """
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"tasks are {', '.join(names) or 'none'}; give at least one, each once")
    shown = [
        shown_task(
            subject,
            task,
            shots=shots,
            prompts=prompts,
            tested=tested,
            form=form,
            test_form=test_form,
            seed=seed + number,
        )
        for number, task in enumerate(tasks)
    ]
    with bar(2 * len(shown), progress, "function vectors", "steps") as step:
        search = Search(top, layers, known, searched)
        kept, left_out, made = make_vectors(subject, shown, search, step)
        right, probability = tested_vectors(subject, kept, made, seed, step)
    result = FunctionVectors(tuple(kept), left_out, made, right, probability, units_of(kept), None, seed)
    return replace(result, damage=_damage(subject, result, unrelated))


def in_another_form(subject: Subject, result: FunctionVectors, form: str) -> FunctionVectors:
    """The same vectors, added to prompts of another form.

    Args:
        subject: the model.
        result: its function vectors.
        form: of an example, with `{input}` before `{output}`; prompts show none.

    Raises:
        ValueError: a form without both, or a tokenizer that joins an output with its prompt.
    """
    tasks = [tested_in(subject, task, form) for task in result.tasks]
    right, probability = tested_vectors(subject, tasks, result.made, result.seed, lambda _: None)
    return replace(result, tasks=tuple(tasks), right=right, probability=probability)


def units_of(tasks: Sequence[ShownTask]) -> tuple[str, ...]:
    """(N,) the word that every tested prompt is about: where tasks share words, they are no more than one unit."""
    return tuple(word for task in tasks for word in task.tested.inputs)


def task_carried(
    subject: Subject, untrained: ControlModels, result: FunctionVectors, *, claim: Claim | None = None
) -> Measurement:
    """The measurement of function vectors, with those of control models, found in the same way in each.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture; the first three are run, and as many lesioned
            ones of each kind, for heads are searched in each.
        result: of the model.
        claim: what it is judged by; where its outcome is settled without the control models, they are not run.

    Raises:
        ValueError: as `checked_models`.
    """

    def answers(model: ControlModel | Subject) -> NDArray[Any]:
        key, own = model.fingerprint, built(model)
        if key not in result.of_controls:
            result.of_controls[key] = vectors_of_control(own, subject, result.tasks, result.made)
        parts = [
            with_vectors(own, task.tested, result.made.layer, vector[None])[1][:, 0]
            for task, vector in zip(result.tasks, result.of_controls[key], strict=True)
        ]
        return np.concatenate(parts)

    def in_models(models: Sequence[ControlModel | Subject]) -> NDArray[Any]:
        return np.stack([answers(model) for model in models])

    costly: dict[str, Callable[[], Any]] = {
        kind: partial(in_models, models[:FEWEST]) for kind, models in faced(subject, untrained).items()
    }
    return as_needed(claim, result.measurement, costly)


def _damage(subject: Subject, result: FunctionVectors, unrelated: Unrelated | None) -> Damage | None:
    if unrelated is None and subject.tokenizer is None:
        return None
    vectors = result.made.vectors

    def edits(rows: Sequence[int], _length: int) -> list[Intervention]:
        added = mx.array(vectors[np.asarray(rows) % len(vectors)].astype(np.float32))[:, None]
        return [steer(resid_post(result.made.layer), added, 1.0, "last")]

    prompts = unrelated_prompts({"capital"}) if unrelated is None else unrelated
    return damage(subject, edits, prompts, seed=result.seed)
