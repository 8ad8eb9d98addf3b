"""Whether words with a circular order, such as the days of the week, lie on a circle in that order.

Engels et al. 2024 (arXiv:2405.14860) find such circles in planes of principal components. A plane can be turned until
some order fits, so plane, direction and turn are chosen on half of the sentences and measured on the other half, and
so they are for orders that are not the words' own, and in every control model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics.folds import random_half
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[np.float64]
COMPONENTS = 3  # the first ones, of which a plane is two
ORDERS = 20  # other circular orders


def circular_order(
    subject: Subject,
    untrained: ControlModels,
    words: Sequence[str],
    sentences: Sequence[str],
    layer: int,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """How well the angles of words in a plane of their states follow their order around a circle.

    The score of a sentence is the mean cosine between the angles of its words and their places on the circle: 1 where
    they agree, about 0 where they have nothing to do with each other, -1 where they are opposite.

    Controls: `other_order`, the same of 20 other circular orders of the words; and `untrained`, `new_blocks` and
    `permuted_blocks`, that of several models of each kind.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        words: M at least 5, in order.
        sentences: T at least 4, units, with `{word}` at their end.
        layer: after which the words' last tokens are read.
        store: activations shared with other claims.
        seed: of the halves, the other orders and the interval.
        claim: what the measurement is judged by.

    Raises:
        ValueError: too few words or sentences, a sentence that ends otherwise, states that do not differ, or as
            `checked_models`.
    """
    if len(words) < 5 or len(sentences) < 4:
        raise ValueError(f"{len(words)} words and {len(sentences)} sentences; give at least 5 and 4")
    if wrong := [sentence for sentence in sentences if not sentence.endswith("{word}")]:
        raise ValueError(f"{wrong[0]!r} does not end in {{word}}, where the words are read")
    store, rng = ActivationStore() if store is None else store, np.random.default_rng(seed)
    site = Site("resid_post", layer)
    prompts = [sentence.format(word=word) for sentence in sentences for word in words]
    first = random_half(len(sentences), rng)
    own, others = np.arange(len(words)), other_orders(len(words), ORDERS, rng)

    def states(model: Subject | ControlModel) -> Floats:
        values = store.get(model, prompts, [site])[site].astype(np.float64)
        return values.reshape(len(sentences), len(words), -1)

    of_subject = states(subject)
    score = agreement(of_subject, own, first)
    at_hand = {"other_order": np.stack([agreement(of_subject, order, first) for order in others])}

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            "mean cosine of angles and places on the circle",
            score,
            [str(number) for number in range(len(sentences))],
            controls,
            bound=2.0,
            seed=seed,
            details={"site": str(site), "words": len(words)},
            unmeasured=left_out,
        )

    def in_models(models: Sequence[ControlModel | Subject]) -> Floats:
        return np.stack([agreement(states(model), own, first) for model in models])

    costly = {kind: partial(in_models, models) for kind, models in faced(subject, untrained).items()}
    return as_needed(claim, measure, costly, at_hand)


def agreement(states: Floats, order: NDArray[np.intp], first: NDArray[np.bool_]) -> Floats:
    """(T,) the mean cosine of the words' angles and places, in a plane that is chosen on the other half of sentences.

    Args:
        states: (T, M, D) of words in sentences.
        order: (M,) the place of each word on the circle.
        first: (T,) whether a sentence is of the first half.

    Raises:
        ValueError: words whose states do not differ.
    """
    centred = states - states.mean(axis=1, keepdims=True)  # what a sentence adds to all of its words
    places = 2 * np.pi * order / len(order)
    scores = np.empty(len(states))
    for half in (first, ~first):
        circle = _best_circle(centred[~half].mean(axis=0), places)
        x, y = np.moveaxis(centred[half] @ circle.plane, -1, 0)
        angles = circle.direction * np.arctan2(y, x) - places
        scores[half] = np.cos(angles - circle.turn).mean(axis=-1)
    return scores


@dataclass(frozen=True, eq=False)
class _Circle:
    """A plane (D, 2) with its direction, 1 or -1, its turn in radians, and how well it fits, from 0 to 1."""

    plane: Floats
    direction: int
    turn: float
    fit: float


def _best_circle(means: Floats, places: Floats) -> _Circle:
    """The plane of two principal components of means (M, D) in which the words' angles follow their places best.

    Components are scaled to equal spread: a circle that is seen at a slant is an ellipse.
    """
    _, sizes, axes = np.linalg.svd(means, full_matrices=False)
    if sizes[1] <= 1e-9 * max(sizes[0], 1e-300) or not np.isfinite(sizes).all():
        raise ValueError("the states of the words do not span a plane; read another layer")
    kept = min(COMPONENTS, int((sizes > 1e-9 * sizes[0]).sum()))
    circles = []
    for pair, direction in product(combinations(range(kept), 2), (1, -1)):
        plane = (axes[list(pair)] / sizes[list(pair), None]).T
        x, y = (means @ plane).T
        resultant = np.exp(1j * (direction * np.arctan2(y, x) - places)).mean()
        circles.append(_Circle(plane, direction, float(np.angle(resultant)), float(np.abs(resultant))))
    return max(circles, key=lambda circle: circle.fit)


def other_orders(count: int, orders: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Circular orders of a number of words in which fewer than half of the words keep a neighbour of their own order.

    A turned or mirrored order is the same circle, and one that differs by two words swapped nearly is.
    """
    drawn: list[NDArray[np.intp]] = []
    while len(drawn) < orders:
        order = rng.permutation(count)
        steps = np.abs(order - np.roll(order, 1)) % count
        if np.isin(steps, (1, count - 1)).sum() < count / 2:
            drawn.append(order)
    return drawn
