"""Does a direction that tells two kinds of prompts apart also turn what the model does from one to the other?

The direction is the difference of the two kinds' mean states (Marks & Tegmark 2023, arXiv:2310.06824; Arditi et al.
2024, arXiv:2406.11717), taken on some prompts and added on others. A push of that size in any direction may break a
behaviour; so random directions of equal norm stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.ablation import answers
from lazarus_probe.introspection.rates import rate
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.subject.batches import by_length, encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

RANDOM = 3


@dataclass(frozen=True)
class Behaviour:
    """Two kinds of prompts that a model answers in two ways.

    Attributes:
        shown: prompts that it answers in the way to bring about.
        plain: prompts that it answers in another way.
        shown_units: the independent unit of each of `shown`.
        plain_units: the independent unit of each of `plain`.
        is_shown: whether a completion is of that way.
        max_tokens: of a completion.
    """

    shown: Sequence[str]
    plain: Sequence[str]
    shown_units: Sequence[str]
    plain_units: Sequence[str]
    is_shown: Callable[[str], bool]
    max_tokens: int = 6

    def rates(self, subject: Subject) -> tuple[float, float]:
        """How often each kind is answered in the way to bring about."""
        both = (answers(subject, texts, max_tokens=self.max_tokens) for texts in (self.shown, self.plain))
        shown, plain = (float(np.mean([self.is_shown(text) for text in said])) for said in both)
        return shown, plain


def difference_of_means(
    subject: Subject, first: Sequence[str], second: Sequence[str], site: Site
) -> NDArray[np.float64]:
    """(D,) the mean state at the last position of some prompts minus that of others.

    Raises:
        ValueError: no prompts on a side.
    """
    return np.asarray(
        collect(subject, first, [site])[site].astype(np.float64).mean(axis=0)
        - collect(subject, second, [site])[site].astype(np.float64).mean(axis=0)
    )


def random_directions(direction: ArrayLike, count: int, seed: int = 0) -> NDArray[np.float64]:
    """(count, D) directions drawn at random, each with the norm of the given one."""
    wanted = np.asarray(direction, dtype=np.float64)
    drawn = np.random.default_rng(seed).normal(size=(count, len(wanted)))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * np.linalg.norm(wanted))


def steered(
    subject: Subject, prompts: Sequence[str], push: ArrayLike, site: Site, max_tokens: int
) -> list[str]:
    """What the model says when a push (D,) is added at the last position of each prompt, and nowhere after it.

    Raises:
        ValueError: no prompts.
    """
    encoded = encode_all(subject, prompts)
    texts = [""] * len(encoded)
    added = np.asarray(push, dtype=np.float32)
    for indices, tokens in by_length(encoded):
        edit = steer(site, added, positions=tokens.shape[1] - 1)
        said = answers(subject, [prompts[index] for index in indices], [edit], max_tokens)
        for index, text in zip(indices, said, strict=True):
            texts[index] = text
    return texts


def steering(
    subject: Subject, behaviour: Behaviour, layer: int, strength: float, seed: int = 0
) -> Measurement:
    """The share of plain prompts that are answered in the other way when its direction is added.

    The direction is taken on half of the units of either kind, and added for the plain prompts of the other half, where
    it was taken: at the last position of the prompt. Controls: `random_direction`, the mean over three of equal norm;
    `unsteered`, the share that is answered so anyway.

    Args:
        subject: the model.
        behaviour: the two kinds of prompts.
        layer: steered after the block.
        strength: in lengths of the direction.
        seed: of the halves, random directions and intervals.

    Raises:
        ValueError: fewer than four units of a kind.
    """
    rng = np.random.default_rng(seed)
    fit_shown, _ = _dealt(behaviour.shown_units, rng)
    fit_plain, tested = _dealt(behaviour.plain_units, rng)
    site = resid_post(layer)
    direction = strength * difference_of_means(
        subject,
        [behaviour.shown[i] for i in fit_shown],
        [behaviour.plain[i] for i in fit_plain],
        site,
    )
    prompts = [behaviour.plain[i] for i in tested]

    def said(push: NDArray[np.float64]) -> list[str]:
        return steered(subject, prompts, push, site, behaviour.max_tokens)

    def turned(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.array([float(behaviour.is_shown(text)) for text in texts])

    pushed = said(direction)
    random = [turned(said(each)) for each in random_directions(direction, RANDOM, seed)]
    return rate(
        "share of the prompts turned",
        turned(pushed),
        [behaviour.plain_units[i] for i in tested],
        {"random_direction": np.mean(random, axis=0), "unsteered": turned(said(0 * direction))},
        seed=seed,
        details={"layer": layer, "strength": strength, "norm": float(np.linalg.norm(direction))},
        tokens=sum(len(subject.encode(prompt)) for prompt in prompts),
        examples=some_examples(prompts, ["turned"] * len(prompts), pushed, turned(pushed) > 0),
    )


def _dealt(units: Sequence[str], rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Rows to take the direction on, and rows to test it on; units stay whole."""
    names = rng.permutation(np.unique(units))
    if len(names) < 4:
        raise ValueError(
            f"{len(names)} independent units of a kind; give at least 4, half to take the direction on"
        )
    tested = np.isin(units, names[::2])
    return np.flatnonzero(~tested).tolist(), np.flatnonzero(tested).tolist()
