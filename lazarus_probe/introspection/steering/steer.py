"""Does a direction that separates two kinds of prompts also steer the model from one behaviour to the other?

The direction is the difference of the two kinds' mean states (Marks & Tegmark 2023, arXiv:2310.06824; Arditi et al.
2024, arXiv:2406.11717), taken on some prompts and added on held-out ones. A steering vector of that size may break a
behaviour whatever its direction. So it is compared with others of equal norm: random ones, which in a wide residual
stream hardly overlap with the differences between prompts; ones between balanced halves of the same prompts, which do;
and ones between kinds of prompts that the claim is not about.
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
    """Two kinds of prompts with different behaviour.

    Attributes:
        positive: prompts with the behaviour to steer to.
        negative: prompts without it.
        positive_units: the independent unit of each of `positive`.
        negative_units: the independent unit of each of `negative`.
        is_positive: whether a completion shows the behaviour.
        max_tokens: of a completion.
        others: pairs of other kinds of prompts, for directions unrelated to the behaviour.
    """

    positive: Sequence[str]
    negative: Sequence[str]
    positive_units: Sequence[str]
    negative_units: Sequence[str]
    is_positive: Callable[[str], bool]
    max_tokens: int = 6
    others: Sequence[tuple[Sequence[str], Sequence[str]]] = ()

    def rates(self, subject: Subject) -> tuple[float, float]:
        """The share of each kind's prompts that show the behaviour."""
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
    """The share of negative prompts that show the behaviour when its direction is added.

    The direction is taken on half of the units of either kind, and added to the negative prompts of the other half, at
    the last position of the prompt. Controls of equal norm: `random_direction`; `shuffled_labels`, between balanced
    halves of the prompts that the direction was taken on; `other_classes`, between the behaviour's other kinds, in
    either direction, if it has any. The intervals of their gains hold for one further direction of the kind, so that
    a kind in which some directions turn everything and others nothing cannot be beaten by luck. And `unsteered`, the
    share without steering.

    How far the steered states get is in the details and, where it is beyond the other kind's mean, in the unit.

    Args:
        subject: the model.
        behaviour: the two kinds of prompts.
        layer: steered after the block.
        strength: in lengths of the direction.
        seed: of the halves, random directions and intervals.
        unrelated: prompts to measure the damage on; by default those of all language tasks.

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
    """The mean position of states (N, D) along the line from one mean (0) to another (1)."""
    length = float(between @ between)
    return float(((states - origin) @ between).mean() / length) if length else 0.0


def _beyond(way: float) -> str:
    """The note in a verdict on a steering vector that goes beyond the other kind's mean."""
    return f"pushes {way:.1f} times as far as the other class's mean" if round(way, 1) > 1 else ""
