"""Does a direction that separates two kinds of prompts also turn what the model does from one to the other?

The direction is the difference of the two kinds' mean states (Marks & Tegmark 2023, arXiv:2310.06824; Arditi et al.
2024, arXiv:2406.11717), taken on some prompts and added on others. A steering vector of that size may break a
behaviour whatever its direction. So it is compared with others of equal norm: drawn at random, which in a wide residual
stream leave most of what prompts differ in alone; between halves of the same prompts that hold as many of
either kind, which do not; and between kinds of prompts that the claim is not about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.directions.difference_of_means import difference_of_means
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.introspection.steering.control_directions import (
    random_directions,
    rescaled,
    shuffled_directions,
)
from lazarus_probe.introspection.steering.vectors import SteeringVectors, steered_completions
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.rates import rate

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Directions of a control. If each of a kind turns the prompts with chance q, the claimed one being one of them, then
# it turns them where none of 7 others does with chance q (1 - q)^7, at most .049 (at q = 1/8).
DIRECTIONS = 7
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Behaviour:
    """Two kinds of prompts that a model answers in two ways.

    Attributes:
        positive: prompts that it answers in the way to bring about.
        negative: prompts that it answers in another way.
        positive_units: the independent unit of each of `positive`.
        negative_units: the independent unit of each of `negative`.
        is_positive: whether a completion is of that way.
        max_tokens: of a completion.
        others: pairs of other kinds of prompts, for directions that the behaviour has nothing to do with.
    """

    positive: Sequence[str]
    negative: Sequence[str]
    positive_units: Sequence[str]
    negative_units: Sequence[str]
    is_positive: Callable[[str], bool]
    max_tokens: int = 6
    others: Sequence[tuple[Sequence[str], Sequence[str]]] = ()

    def rates(self, subject: Subject) -> tuple[float, float]:
        """How often each kind is answered in the way to bring about."""
        both = (
            greedy_completions(subject, texts, max_tokens=self.max_tokens)
            for texts in (self.positive, self.negative)
        )
        positive, negative = (float(np.mean([self.is_positive(text) for text in texts])) for texts in both)
        return positive, negative


def steering(
    subject: Subject,
    behaviour: Behaviour,
    layer: int,
    strength: float,
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """The share of negative prompts that are answered in the other way when its direction is added.

    The direction is taken on half of the units of either kind, and added for the negative prompts of the other half,
    where it was taken: at the last position of the prompt. Controls, of equal norm: `random_direction`;
    `shuffled_labels`, between balanced halves of the prompts that the direction was taken on; `other_classes`, between
    the behaviour's other kinds, either way, if it has any. The intervals of their gains hold for one more direction of
    the kind, so that a kind of which some turn everything and others nothing cannot be beaten by luck. And
    `unsteered`, the share that is answered so anyway.

    How far the steered states come is in the details and, where it is past the other kind's mean, in the unit.

    Args:
        subject: the model.
        behaviour: the two kinds of prompts.
        layer: steered after the block.
        strength: in lengths of the direction.
        seed: of the halves, random directions and intervals.
        unrelated: prompts to tell the damage on; by default those of all language tasks.

    Raises:
        ValueError: fewer than four units of a kind, or logits that are not finite.
    """
    rng = np.random.default_rng(seed)
    fit_positive, _ = halves_of_units(behaviour.positive_units, rng)
    fit_negative, tested = halves_of_units(behaviour.negative_units, rng)
    site, prompts = resid_post(layer), [behaviour.negative[i] for i in tested]
    positive, negative = (
        _states(subject, [texts[i] for i in rows], site)
        for texts, rows in ((behaviour.positive, fit_positive), (behaviour.negative, fit_negative))
    )
    between = positive.mean(axis=0) - negative.mean(axis=0)
    direction = strength * between
    fit_units = (
        [behaviour.positive_units[i] for i in fit_positive],
        [behaviour.negative_units[i] for i in fit_negative],
    )
    norm = float(np.linalg.norm(direction))
    controls = {
        "random_direction": random_directions(direction, DIRECTIONS, seed),
        "shuffled_labels": shuffled_directions((positive, negative), fit_units, norm, DIRECTIONS, seed),
    }
    if behaviour.others:
        ways = [difference_of_means(subject, *pair, site) for pair in behaviour.others]
        controls["other_classes"] = rescaled(np.stack([sign * way for way in ways for sign in (1, -1)]), norm)
    start = _way(_states(subject, prompts, site), negative.mean(axis=0), between)
    vectors = [
        0 * direction,
        direction,
        (1 - start) * between,
        *(vector for group in controls.values() for vector in group),
    ]
    steered = SteeringVectors(layer, np.stack(vectors).astype(np.float32), "last")
    by_prompt = steered_completions(subject, prompts, steered, behaviour.max_tokens)
    completions = [[row[number].text for row in by_prompt] for number in range(len(vectors))]
    turned = np.array([[float(behaviour.is_positive(text)) for text in texts] for texts in completions])
    units = [behaviour.negative_units[i] for i in tested]
    unrelated = unrelated_prompts() if unrelated is None else unrelated
    claimed = SteeringVectors(layer, direction[None].astype(np.float32), "last")
    ends = np.cumsum([len(group) for group in controls.values()])
    of_controls = dict(zip(controls, np.split(turned[3:], ends[:-1]), strict=True))
    return rate(
        "share of the prompts turned",
        turned[1],
        units,
        {**of_controls, "unsteered": turned[0]},
        seed=seed,
        details={
            "layer": layer,
            "strength": strength,
            "norm": norm,
            "way_to_other_mean": start + strength,
            "turned_at_other_mean": float(turned[2].mean()),
        },
        tokens=sum(len(subject.encode(prompt)) for prompt in prompts),
        examples=some_examples(prompts, ["turned"] * len(prompts), completions[1], turned[1] > 0),
        damage=damage(subject, claimed.edits(len(unrelated.prompts)), unrelated, seed=seed),
        place=_beyond(start + strength),
    )


def _states(subject: Subject, prompts: Sequence[str], site: Site) -> Floats:
    """(N, D) at the last position."""
    return np.asarray(collect(subject, prompts, [site])[site], dtype=np.float64)


def _way(states: Floats, origin: Floats, between: Floats) -> float:
    """How far states (N, D) are on the way from one mean to another, on average: 0 at the first, 1 at the other."""
    length = float(between @ between)
    return float(((states - origin) @ between).mean() / length) if length else 0.0


def _beyond(way: float) -> str:
    """What a verdict must say of a steering vector that goes further than the other kind's own prompts are."""
    return f"pushes {way:.1f} times as far as the other class's mean" if round(way, 1) > 1 else ""
