"""The effect of a direction at each dose, compared with random directions of equal norm.

Any large steering vector changes the output. So the curve of a direction is compared with those of random directions:
under the null hypothesis that it is one of them, every order of the curves is equally likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.introspection.generation.completions import same_answer
from lazarus_probe.introspection.generation.damage import Unrelated, damage, unrelated_prompts
from lazarus_probe.introspection.steering.control_directions import random_directions
from lazarus_probe.introspection.steering.dose_curves import DoseResponse
from lazarus_probe.introspection.steering.dose_effect import Effect
from lazarus_probe.introspection.steering.targets import target_metrics, target_of
from lazarus_probe.introspection.steering.vectors import (
    Position,
    SteeringVectors,
    multiples,
    steered_completions,
    steered_next_tokens,
)
from lazarus_probe.tasks.arithmetic import is_answer

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# (1 + 0) / (19 + 1): with fewer, no result is rarer than one in twenty.
RANDOM = 19


def dose_response(
    subject: Subject,
    prompts: Sequence[str],
    vector: ArrayLike,
    layer: int,
    doses: Sequence[float],
    *,
    target: str | None = None,
    position: Position = "onward",
    random: int = RANDOM,
    max_tokens: int = 8,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
    unrelated: Unrelated | None = None,
) -> DoseResponse:
    """Steer prompts along a direction by each dose, and along random directions of equal norm.

    The effects are `kl`, KL(unsteered || steered) of the next token in nats, and `changed`, the share of prompts that
    are answered otherwise, numbers parsed. With a target that is a word, or several, `target_log_odds` as well, the
    logarithm of their probability over that of all else; `target_probability`; and `target_logit_diff`, their logit
    minus that of the likeliest other token unsteered. A word counts in each spelling that is one token. With a target
    that is a number, `target_answered`, the share that answers it.

    Args:
        subject: the model.
        prompts: P texts.
        vector: (D,) the direction, in the units of the residual stream.
        layer: steered after the block.
        doses: K coefficients.
        target: a word, several with commas between them, or a number.
        position: see `SteeringVectors`.
        random: how many random directions.
        max_tokens: of an answer.
        seed: of the random directions.
        check: called between two steps.
        unrelated: prompts to measure the damage on; by default those of all language tasks.

    Raises:
        ValueError: no prompts or doses, a width that does not fit, a target that is neither a word of one token nor a
            number, or logits that are not finite.

    Example:
        >>> from lazarus_probe import collect, dose_response
        >>> from lazarus_probe.sites import resid_post
        >>> site = resid_post(4)
        >>> products = collect(subject, ["7*8=", "6*9="], [site])[site]
        >>> sums = collect(subject, ["7+8=", "6+9="], [site])[site]
        >>> direction = products.mean(axis=0) - sums.mean(axis=0)
        >>> result = dose_response(subject, ["7+8=", "6+9="], direction, layer=4, doses=[0.0, 1.0], random=3)
        >>> list(result.effects)
        ['kl', 'changed']
        >>> result.answers[0]  # dose 0: unsteered
        ('15', '15')
    """
    if not doses:
        raise ValueError("no doses; give at least one coefficient, as in 0,0.5,1,2")
    tokens, number = target_of(subject, target)
    directions = [np.asarray(vector, dtype=np.float64), *random_directions(vector, random, seed)]
    vectors = np.concatenate(
        [
            np.zeros((1, len(directions[0])), np.float32),
            *(multiples(direction, doses) for direction in directions),
        ]
    )
    steering = SteeringVectors(layer, vectors, position)
    values = steered_next_tokens(
        subject, prompts, steering, target_metrics(list(tokens.values())), check=check
    )
    completions = steered_completions(subject, prompts, steering, max_tokens, check=check)
    texts = [[completion.text for completion in row] for row in completions]
    values["changed"] = np.array(
        [[not same_answer(row[0], text) for text in row] for row in texts], dtype=np.float64
    )
    if number is not None:
        values["target_answered"] = np.array(
            [[is_answer(text, number) for text in row] for row in texts], dtype=np.float64
        )
    result = DoseResponse(
        tuple(prompts),
        tuple(map(float, doses)),
        layer,
        position,
        float(np.linalg.norm(directions[0])),
        target,
        {name: _effect(name, numbers, doses, prompts) for name, numbers in values.items()},
        tuple(tuple(row[1 + i] for row in texts) for i in range(len(doses))),
        seed,
        target_tokens=tuple(tokens),
    )
    if not result.can_be_claimed:
        return result
    unrelated = unrelated_prompts() if unrelated is None else unrelated
    best = SteeringVectors(layer, vectors[[1 + result.best]], position).edits(len(unrelated.prompts))
    return replace(result, damage=damage(subject, best, unrelated, seed=seed))


def _effect(name: str, values: NDArray[np.float64], doses: Sequence[float], prompts: Sequence[str]) -> Effect:
    """From numbers (P, 1 + K + R * K): unsteered, the direction's doses, and those of each random direction."""
    by_direction = values[:, 1:].T.reshape(-1, len(doses), len(values))
    return Effect(name, by_direction[0], by_direction[1:], values[:, 0], tuple(prompts), tuple(doses))
