"""Differential causality: does ablating one layer break one kind of question and spare another?

The layer is chosen on one half of the questions and tested on the other. Broken is an answer that the unablated
model gives and the ablated one does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site, kinds_at
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.effects import held_out_half
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
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Curve, Example, Measurement, some_examples
from lazarus_probe.tasks.arithmetic import is_answer

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Booleans = NDArray[np.bool_]
MAX_TOKENS = 4  # of an answer


@dataclass(frozen=True)
class Graded:
    """Questions of several kinds, and which of them a model answers.

    Attributes:
        prompts: (N,) texts.
        answers: (N,) the true numbers.
        kinds: (N,) the kind of each question.
        families: (N,) the operand family of each.
        right: (N,) whether the unablated model answers it.
        confirming: (N,) which half it is in: False to choose the layer on, True to test it on.
    """

    prompts: tuple[str, ...]
    answers: tuple[float, ...]
    kinds: NDArray[Any]
    families: NDArray[Any]
    right: Booleans
    confirming: Booleans

    def rows(self, kind: str, *, confirming: bool) -> Booleans:
        """The answered questions of one kind in one half."""
        return (self.kinds == kind) & (self.confirming == confirming) & self.right

    def share(self, kind: str) -> float:
        """The share of a kind that the unablated model answers."""
        return float(self.right[self.kinds == kind].mean())


def grade(
    subject: Subject,
    prompts: Sequence[str],
    expected: Sequence[float],
    kinds: Sequence[str],
    families: Sequence[str],
    seed: int = 0,
) -> Graded:
    """Which questions the model answers, and two halves of them that share no family.

    Raises:
        ValueError: no prompts, or fewer than 4 families.
    """
    confirming = held_out_half(families, seed)
    right = _right(ablated_completions(subject, prompts, {}, MAX_TOKENS), expected)
    return Graded(tuple(prompts), tuple(expected), np.array(kinds), np.array(families), right, confirming)


def _right(texts: Sequence[str], expected: Sequence[float]) -> Booleans:
    return np.array([is_answer(text, number) for text, number in zip(texts, expected, strict=True)])


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

    Controls: `random_neurons`, as many neurons as one layer has drawn over all layers and set to their means (where a
    layer is a mixture of experts, coordinates of the MLPs' outputs instead); and the kind `between`, which a gate of
    what is hard should spare more than the hard.

    Args:
        subject: the model.
        graded: the questions.
        hard: the kind that should break.
        easy: the kind that should not.
        between: a kind of middle difficulty.
        method: what the MLPs' outputs are replaced by.
        seed: of drawn values and neurons.
        unrelated: prompts to measure the damage on; by default those of all language tasks.
    """
    layers = range(subject.num_layers)
    dense = all("neurons" in kinds_at(subject.anatomy, layer) for layer in layers)
    outputs = [Site("mlp_out", layer) for layer in layers]
    inner = [Site("neurons", layer) for layer in layers] if dense else outputs
    rows = reference_rows(subject, graded.prompts, list(dict.fromkeys([*outputs, *inner])))
    ablations: list[Edits] = [{site: replacement(method, rows[site], seed)} for site in outputs]
    completions = [ablated_completions(subject, graded.prompts, edits, MAX_TOKENS) for edits in ablations]
    broken = [_broken(graded, texts) for texts in completions]
    gate = int(np.argmax([_gap(graded, of_layer, hard, easy, confirming=False)[0] for of_layer in broken]))
    means: Edits = {site: replacement(AblationType.MEAN, rows[site]) for site in inner}
    shapes = [rows[site].shape[1:] for site in inner]
    random_edits = random_coordinates(means, shapes, shapes[gate][0], seed)
    random = _broken(graded, ablated_completions(subject, graded.prompts, random_edits, MAX_TOKENS))

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
        groups=int(min(len(np.unique(graded.families[rows])) for rows in tested)),
        unit=f"{hard} minus {easy} answers broken",
        controls=(
            Control("random_neurons", of_random, over_random, by_random.low, by_random.high),
            Control(between, score - over_between, over_between, by_between.low, by_between.high),
        ),
        seed=seed,
        details={"layer": gate, "method": str(method)},
        tokens=sum(len(subject.encode(prompt)) for prompt in graded.prompts),
        examples=_examples(graded, hard, completions[gate], broken[gate]),
        curves=_curves(graded, broken),
        floor=-1.0,
        damage=ablation_damages(subject, [ablations[gate]], unrelated, seed)[0],
    )


def _broken(graded: Graded, texts: Sequence[str]) -> Booleans:
    return graded.right & ~_right(texts, graded.answers)


def _gap(
    graded: Graded, broken: Booleans, first: str, second: str, *, confirming: bool = True
) -> tuple[float, Interval]:
    """The share of one kind broken minus that of another, with its interval."""
    (one, of_one), (two, of_two) = (_share(graded, broken, kind, confirming) for kind in (first, second))
    return one - two, difference_interval(one, of_one, two, of_two)


def _share(graded: Graded, broken: Booleans, kind: str, confirming: bool) -> tuple[float, Interval]:
    rows = graded.rows(kind, confirming=confirming)
    return float(broken[rows].mean()), proportion_interval(broken[rows], graded.families[rows])


def _excess(
    graded: Graded, broken: Booleans, other: Booleans, first: str, second: str
) -> tuple[float, Interval]:
    """How much wider one ablation's gap is than another's; both are of the same prompts."""
    parts = []
    for kind in (first, second):
        rows = graded.rows(kind, confirming=True)
        change = broken[rows].astype(float) - other[rows].astype(float)
        parts.append((float(change.mean()), paired_interval(change, graded.families[rows])))
    (one, of_one), (two, of_two) = parts
    return one - two, difference_interval(one, of_one, two, of_two)


def _examples(graded: Graded, kind: str, texts: Sequence[str], broken: Booleans) -> tuple[Example, ...]:
    """Questions of one kind that the unablated model answers, with the completions without the layer."""
    rows = np.flatnonzero(graded.rows(kind, confirming=True)).tolist()
    return some_examples(
        [graded.prompts[row] for row in rows],
        [f"{graded.answers[row]:g}" for row in rows],
        [texts[row] for row in rows],
        broken[rows],
    )


def _curves(graded: Graded, broken: Sequence[Booleans]) -> tuple[Curve, ...]:
    """The share of each kind broken by each layer, over both halves."""
    layers = tuple(map(float, range(len(broken))))
    rows = {kind: (graded.kinds == kind) & graded.right for kind in dict.fromkeys(graded.kinds.tolist())}
    return tuple(
        Curve(f"{kind} broken", layers, tuple(float(of_layer[of_kind].mean()) for of_layer in broken))
        for kind, of_kind in rows.items()
    )
