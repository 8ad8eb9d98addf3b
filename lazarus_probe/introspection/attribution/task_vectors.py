"""Makes function vectors on the first half of the pairs of tasks, and adds them and others to prompts of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.attribution.shown_tasks import ShownTask, TaskPrompts
from lazarus_probe.introspection.attribution.task_heads import (
    Outputs,
    attention_factors,
    head_effects,
    head_sum,
    heads_of,
    last_outputs,
)
from lazarus_probe.introspection.attribution.token_states import TokenReader
from lazarus_probe.introspection.patching.fact_measures import windows_of
from lazarus_probe.introspection.steering.control_directions import random_directions, rescaled
from lazarus_probe.introspection.steering.vectors import SteeringVectors, steered_next_tokens
from lazarus_probe.sweep.routes import share_route

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

VECTOR, NONE = "vector", "zero_shot"
SHARE = 0.04  # of all heads
RANDOM = 7  # directions, so that the interval holds for one more
FEW = 4  # prompts with examples that a control model's vector is made of
OTHER_TOKENS = 256  # that the outputs are told from
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TaskVectors:
    """The function vectors of T tasks, made on the first half of their pairs.

    Attributes:
        sites: (K,) all heads.
        effects: (T, K) causal indirect effect of each on the answer's probability, by task.
        heads: chosen by the mean over tasks, the largest effect first.
        layers: (L,) after which the vector was tried.
        by_layer: (T, L) the answer's mean probability with the vector there.
        layer: the best of them over all tasks.
        vectors: (T, D) the sum of the chosen heads' mean outputs.
        shuffled: (T, D) the same where the examples are shuffled.
        with_examples: (T,) share of prompts with examples that are answered.
    """

    sites: tuple[Site, ...]
    effects: Floats
    heads: tuple[Site, ...]
    layers: tuple[int, ...]
    by_layer: Floats
    layer: int
    vectors: Floats
    shuffled: Floats
    with_examples: Floats


@dataclass(frozen=True)
class Search:
    """How heads and layer are chosen.

    Attributes:
        top: how many heads are summed; None for one in 25.
        layers: after which the vector is tried; None for six evenly spaced ones.
        known: share of prompts with examples that must be answered for a task to count.
        searched: prompts with shuffled examples, of each task, that every head is patched in.
    """

    top: int | None = None
    layers: Sequence[int] | None = None
    known: float = 0.0
    searched: int = 4

    def count(self, subject: Subject, heads: int) -> int:
        """How many of a model's heads are summed.

        Raises:
            ValueError: more than there are, or none.
        """
        count = ceil(SHARE * heads) if self.top is None else self.top
        if not 1 <= count <= heads:
            raise ValueError(f"{count} heads to sum; {subject.name} has 1 to {heads}")
        return count

    def tried(self, subject: Subject) -> list[int]:
        """The layers after which a model is given the vector.

        Raises:
            IndexError: one that does not exist.
            ValueError: none.
        """
        layers = list(windows_of(subject.num_layers, 0)[0] if self.layers is None else self.layers)
        if not layers:
            raise ValueError("no layers to add the vector after; give at least one")
        if wrong := [layer for layer in layers if not 0 <= layer < subject.num_layers]:
            raise IndexError(
                f"layer {wrong[0]} is not there; {subject.name} has 0 to {subject.num_layers - 1}"
            )
        return layers


def make_vectors(
    subject: Subject, shown: Sequence[ShownTask], search: Search, step: Callable[[int], Any]
) -> tuple[list[ShownTask], dict[str, float], TaskVectors]:
    """The tasks that are known, by name how well the others are, and the vectors of the first."""
    factors, tried = attention_factors(subject), search.tried(subject)
    layers = list(factors)
    sites = heads_of(subject, layers)
    count = search.count(subject, len(sites))
    outputs = {task.name: last_outputs(subject, task.examples, layers) for task in shown}
    shares = {name: float(right.mean()) for name, (_, right) in outputs.items()}
    tasks = [task for task in shown if shares[task.name] >= search.known]
    left_out = {name: share for name, share in shares.items() if share < search.known}
    if not tasks:
        named = ", ".join(f"{name} {share:.2f}" for name, share in left_out.items())
        raise ValueError(
            f"{subject.name} knows no task from examples, of which {search.known:.2f} must be answered: {named}"
        )
    means = [outputs[task.name][0] for task in tasks]
    effects = _effects(subject, tasks, means, sites, search.searched, step)
    heads = best_heads(sites, effects, count)
    vectors = np.stack([head_sum(subject, heads, mean, factors) for mean in means])
    by_layer = np.array(
        [
            [with_vectors(subject, task.plain, layer, vector[None])[0].mean() for layer in tried]
            for task, vector in zip(tasks, vectors, strict=True)
        ]
    )
    shuffled = [last_outputs(subject, task.shuffled, layers)[0] for task in tasks]
    made = TaskVectors(
        tuple(sites),
        effects,
        tuple(heads),
        tuple(tried),
        by_layer,
        tried[int(by_layer.mean(axis=0).argmax())],
        vectors,
        np.stack([head_sum(subject, heads, mean, factors) for mean in shuffled]),
        np.array([shares[task.name] for task in tasks]),
    )
    return tasks, left_out, made


def _effects(
    subject: Subject,
    tasks: Sequence[ShownTask],
    means: Sequence[Outputs],
    sites: Sequence[Site],
    searched: int,
    step: Callable[[int], Any],
) -> Floats:
    """(T, K) the mean causal indirect effect of every head, by task."""
    effects = []
    for task, mean in zip(tasks, means, strict=True):
        effects.append(head_effects(subject, task.shuffled.first(searched), mean, sites)[0].mean(axis=0))
        step(1)
    return np.stack(effects)


def best_heads(sites: Sequence[Site], effects: Floats, count: int) -> list[Site]:
    """The heads (count,) of the largest mean effects (T, K) over tasks."""
    return [sites[number] for number in np.argsort(-effects.mean(axis=0), kind="stable")[:count]]


def vectors_of_control(
    model: Subject, origin: Subject, tasks: Sequence[ShownTask], made: TaskVectors
) -> Floats:
    """(T, D) the function vectors of a model like another.

    Its heads are chosen as the other's are, on fewer prompts: of a model that knows no task none brings one.
    """
    share_route(model, origin)
    factors = attention_factors(model)
    sites = heads_of(model, list(factors))
    means = [last_outputs(model, task.examples.first(FEW), list(factors))[0] for task in tasks]
    effects = _effects(model, tasks, means, sites, 1, lambda _: None)
    heads = best_heads(sites, effects, len(made.heads))
    return np.stack([head_sum(model, heads, mean, factors) for mean in means])


def tested_vectors(
    subject: Subject, tasks: Sequence[ShownTask], made: TaskVectors, seed: int, step: Callable[[int], Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Whether prompts of the second half are answered, and the answers' probabilities, by name of a vector."""
    right: dict[str, list[NDArray[Any]]] = {}
    probability: dict[str, list[NDArray[Any]]] = {}
    for row, task in enumerate(tasks):
        groups = compared(subject, task, row, made, seed + row)
        vectors = np.concatenate(list(groups.values()))
        chances, hits = with_vectors(subject, task.tested, made.layer, vectors)
        ends = np.cumsum([len(group) for group in groups.values()])[:-1]
        for values, parts in ((chances, probability), (hits, right)):
            for name, part in zip(groups, np.split(values, ends, axis=1), strict=True):
                of_kind = part.T if name == "random_direction" else part.astype(float).mean(axis=1)
                parts.setdefault(name, []).append(of_kind)
        step(1)
    answered, likely = (
        {name: np.concatenate(rows, axis=-1) for name, rows in parts.items()}
        for parts in (right, probability)
    )
    return answered, likely


def compared(
    subject: Subject, task: ShownTask, row: int, made: TaskVectors, seed: int
) -> dict[str, NDArray[np.float64]]:
    """By name vectors (M, D): the task's own, none, and what it is compared with."""
    own = made.vectors[row]
    groups = {
        VECTOR: own[None],
        NONE: 0 * own[None],
        "shuffled_labels": made.shuffled[row][None],
        "output_set": rescaled(_of_outputs(subject, task, seed)[None], float(np.linalg.norm(own))),
        "random_direction": random_directions(own, RANDOM, seed),
    }
    if len(made.vectors) > 1:
        groups["other_task"] = np.delete(made.vectors, row, axis=0)
    return groups


def _of_outputs(subject: Subject, task: ShownTask, seed: int) -> Floats:
    """(D,) the direction that raises the logits of all outputs of a task, rather than those of other tokens."""
    outputs = np.unique([*task.plain.answers, *task.tested.answers])
    drawn = np.random.default_rng(seed).integers(0, subject.anatomy.vocab_size, OTHER_TOKENS)
    reader = TokenReader(subject, np.concatenate([outputs, drawn]))
    rows = reader.normed(reader.rows)
    return np.asarray(rows[: len(outputs)].mean(axis=0) - rows[len(outputs) :].mean(axis=0), dtype=np.float64)


def with_vectors(
    subject: Subject, prompts: TaskPrompts, layer: int, vectors: NDArray[Any]
) -> tuple[Floats, NDArray[np.bool_]]:
    """The answer's probability (N, K) under each of K vectors added at the last token, and whether it comes first."""
    tokens = sorted(set(prompts.answers))

    def metrics(after: mx.array, _before: mx.array) -> dict[str, mx.array]:
        return {"top": after.argmax(axis=-1), **{str(token): mx.exp(after[:, token]) for token in tokens}}

    steering = SteeringVectors(layer, vectors.astype(np.float32), "last")
    values = steered_next_tokens(subject, prompts.ids, steering, metrics)
    answers = np.array(prompts.answers)
    probability = np.stack([values[str(token)][row] for row, token in enumerate(answers)])
    return probability, np.asarray(values["top"] == answers[:, None])
