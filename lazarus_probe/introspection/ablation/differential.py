"""Differential causality: does ablating one layer break one kind of question and spare another?

The layer is chosen on one half of the questions and tested on the other. An answer is broken if the unablated model
gives it and the ablated one does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.effects import Task, ablate_each
from lazarus_probe.introspection.ablation.methods import (
    Edits,
    ablated_completions,
    ablation_damages,
    random_coordinates,
    reference_rows,
    replacement,
)
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Curve, Example, Measurement, some_examples
from lazarus_probe.tasks.arithmetic import is_answer

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Booleans = NDArray[np.bool_]
MAX_TOKENS = 4  # of an answer


@dataclass(frozen=True)
class Graded:
    """Questions of several kinds, graded by the unablated model.

    Attributes:
        task: the N questions and their answers; the units are operand families.
        kinds: (N,) kinds of question.
        right: (N,) whether the unablated model answers correctly.
        confirming: (N,) the half: False to choose the layer on, True to test it on.
    """

    task: Task
    kinds: NDArray[Any]
    right: Booleans
    confirming: Booleans

    def rows(self, kind: str, *, confirming: bool) -> Booleans:
        """(N,) the answered questions of one kind in one half."""
        return (self.kinds == kind) & (self.confirming == confirming) & self.right

    def share(self, kind: str) -> float:
        """The share of a kind that the unablated model answers."""
        return float(self.right[self.kinds == kind].mean())

    def families(self, rows: Booleans) -> NDArray[Any]:
        """The operand families of some questions."""
        return np.asarray(self.task.units)[rows]


def grade(
    subject: Subject,
    prompts: Sequence[str],
    expected: Sequence[float],
    kinds: Sequence[str],
    families: Sequence[str],
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
) -> Graded:
    """Which questions the model answers, and two halves of them that share no family.

    Raises:
        ValueError: no prompts, or fewer than 4 families.
    """
    _, testing = halves_of_units(families, np.random.default_rng(seed))
    task = Task(prompts, expected, families, lambda i, text: is_answer(text, expected[i]), max_tokens)
    return Graded(task, np.array(kinds), task.answered(subject), np.isin(np.arange(len(prompts)), testing))


def differential_ablation(
    subject: Subject,
    graded: Graded,
    hard: str,
    easy: str,
    between: str,
    *,
    method: AblationType = AblationType.MEAN,
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """Ablate each layer's MLP; the share of hard answers broken minus that of easy ones, at the chosen layer.

    Controls: `random_neurons`, as many neurons as one layer has, drawn over all layers and set to their means (where a
    layer is a mixture of experts, coordinates of the MLPs' outputs instead); and the kind `between`, which should break
    less than the hard kind.

    Args:
        subject: the model.
        graded: the questions.
        hard: the kind that should break.
        easy: the kind that should not.
        between: a kind of intermediate difficulty.
        method: what replaces the MLPs' outputs.
        seed: of drawn values and neurons.
        unrelated: prompts to measure the damage on; by default those of all language tasks.
    """
    layers = range(subject.num_layers)
    dense = all("neurons" in kinds_at(subject.anatomy, layer) for layer in layers)
    outputs = [Site("mlp_out", layer) for layer in layers]
    inner = [Site("neurons", layer) for layer in layers] if dense else outputs
    effects = ablate_each(subject, graded.task, [(site,) for site in outputs], method, seed)
    broken = graded.right & effects.broken
    gate = int(np.argmax([_gap(graded, of_layer, hard, easy, confirming=False)[0] for of_layer in broken]))
    rows = reference_rows(subject, graded.task.prompts, inner)
    means: Edits = {site: replacement(AblationType.MEAN, rows[site]) for site in inner}
    shapes = [rows[site].shape[1:] for site in inner]
    random_edits = random_coordinates(means, shapes, shapes[gate][0], seed)
    texts = ablated_completions(subject, graded.task.prompts, random_edits, graded.task.max_tokens)
    random = graded.right & ~graded.task.graded(texts)

    score, interval = _gap(graded, broken[gate], hard, easy)
    of_random, _ = _gap(graded, random, hard, easy)
    over_random, by_random = _excess(graded, broken[gate], random, hard, easy)
    over_between, by_between = _gap(graded, broken[gate], hard, between)
    tested = [graded.rows(kind, confirming=True) for kind in (hard, easy)]
    return Measurement(
        score=score,
        low=interval.low,
        high=interval.high,
        n=int(sum(rows.sum() for rows in tested)),
        groups=int(min(len(np.unique(graded.families(rows))) for rows in tested)),
        unit=f"{hard} minus {easy} answers broken",
        controls=(
            Control("random_neurons", of_random, over_random, by_random.low, by_random.high),
            Control(between, score - over_between, over_between, by_between.low, by_between.high),
        ),
        seed=seed,
        details={"layer": gate, "method": str(method)},
        tokens=graded.task.tokens(subject),
        examples=_examples(graded, hard, effects.completions[gate], broken[gate]),
        curves=_curves(graded, broken),
        floor=-1.0,
        damage=ablation_damages(subject, [effects.edits[gate]], unrelated, seed)[0],
    )


def _gap(
    graded: Graded, broken: Booleans, first: str, second: str, *, confirming: bool = True
) -> tuple[float, Interval]:
    """The share of one kind broken minus that of another, with its interval."""
    shares = []
    for kind in (first, second):
        rows = graded.rows(kind, confirming=confirming)
        interval = proportion_interval(broken[rows], graded.families(rows))
        shares.append((float(broken[rows].mean()), interval))
    return shares[0][0] - shares[1][0], difference_interval(*shares[0], *shares[1])


def _excess(
    graded: Graded, broken: Booleans, random: Booleans, first: str, second: str
) -> tuple[float, Interval]:
    """How much larger an ablation's gap is than that of the random control, on the same prompts."""
    changes = []
    for kind in (first, second):
        rows = graded.rows(kind, confirming=True)
        change = broken[rows].astype(float) - random[rows].astype(float)
        changes.append((float(change.mean()), paired_interval(change, graded.families(rows))))
    return changes[0][0] - changes[1][0], difference_interval(*changes[0], *changes[1])


def _examples(graded: Graded, kind: str, texts: Sequence[str], broken: Booleans) -> tuple[Example, ...]:
    """Answered questions of one kind, with the completions without the layer."""
    rows = np.flatnonzero(graded.rows(kind, confirming=True)).tolist()
    task = graded.task.take(rows)
    answers = [f"{answer:g}" for answer in task.expected]
    return some_examples(task.prompts, answers, [texts[row] for row in rows], broken[rows])


def _curves(graded: Graded, broken: Booleans) -> tuple[Curve, ...]:
    """The share of each kind broken without each layer, over both halves."""
    layers = tuple(map(float, range(len(broken))))
    rows = {kind: (graded.kinds == kind) & graded.right for kind in dict.fromkeys(graded.kinds.tolist())}
    return tuple(
        Curve(f"{kind} broken", layers, tuple(float(of_layer[of_kind].mean()) for of_layer in broken))
        for kind, of_kind in rows.items()
    )
