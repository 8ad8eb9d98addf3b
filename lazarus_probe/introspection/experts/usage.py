"""How a mixture uses its experts: cold experts, later choices predicted from early ones, a specialised expert.

Each number is compared with routing by token or position alone, and with an untrained router.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.introspection.experts.routing import Routes
from lazarus_probe.statistics.clustered import proportion_interval
from lazarus_probe.statistics.controls import majority_predictions, paired_control
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.folds import Folds, grouped_folds
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Example, Grid, Measurement, some_examples
from lazarus_probe.statistics.model_spread import over_untrained
from lazarus_probe.statistics.rates import rate

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Booleans = NDArray[np.bool_]
START = 2  # positions of a prompt that make a trigram with the beginning of the sequence


def cold_experts(
    subject: Subject, routes: Routes, untrained: Sequence[Routes], least: float, seed: int = 0
) -> Measurement:
    """The share of experts, over all layers, that are chosen less than `least` times as often as on an even load.

    Controls: `even_routing`, as many choices dealt to the experts at random; `untrained`, the routers of several
    untrained models. The independent units are layers.

    Args:
        subject: the model, to show prompts.
        routes: its routes.
        untrained: those of at least three untrained models on the same prompts.
        least: share of the even load.
        seed: of the dealt choices and intervals.

    Raises:
        ValueError: a model of one routed layer, or fewer than three untrained ones.
    """
    rng = np.random.default_rng(seed)
    layers = np.concatenate([np.full(count, layer) for layer, count in routes.experts.items()])
    loads = {layer: routes.uses(layer).sum(0) for layer in routes.experts}
    dealt = {
        layer: rng.multinomial(load.sum(), np.full(len(load), 1 / len(load))) for layer, load in loads.items()
    }
    cold, even = _cold(loads, least), _cold(dealt, least)
    of_untrained = [
        float(_cold({layer: model.uses(layer).sum(0) for layer in routes.experts}, least).mean())
        for model in untrained
    ]
    interval = proportion_interval(cold, layers, seed=seed)
    relative = {layer: load * len(load) / load.sum() for layer, load in loads.items()}
    return Measurement(
        score=float(cold.mean()),
        low=interval.low,
        high=interval.high,
        n=len(cold),
        groups=len(routes.experts),
        unit="share of experts that are cold",
        controls=(
            paired_control("even_routing", cold, even, layers, seed),
            over_untrained(float(cold.mean()), interval, of_untrained),
        ),
        seed=seed,
        details={"positions": len(routes), "least_share_of_even_load": least},
        tokens=sum(map(len, routes.encoded)),
        examples=_choices(subject, routes, next(iter(routes.experts))),
        grids=_load_grid(relative),
    )


def _cold(loads: dict[int, NDArray[Any]], least: float) -> Booleans:
    return np.concatenate([load < least * load.sum() / len(load) for load in loads.values()])


def _load_grid(relative: dict[int, NDArray[Any]]) -> tuple[Grid, ...]:
    if len({len(load) for load in relative.values()}) > 1:
        return ()
    columns = tuple(f"expert {i}" for i in range(len(next(iter(relative.values())))))
    values = tuple(tuple(map(float, load)) for load in relative.values())
    return (Grid("load over an even load", tuple(f"L{layer}" for layer in relative), columns, values),)


def predicted_experts(
    subject: Subject,
    routes: Routes,
    untrained: Sequence[Routes],
    groups: ArrayLike,
    early: int,
    late: int,
    seed: int = 0,
) -> Measurement:
    """How often the first expert of a late layer is predicted from the experts of an early one.

    A ridge classifier reads the late expert from the set of early ones, on prompts of held-out groups.
    Controls, on the same splits: `majority`, the most frequent expert; `token`, the same classifier on the token at
    the position; `untrained`, an untrained model's late expert from its early ones, the mean of several models.

    Args:
        subject: the model, to show prompts.
        routes: its routes.
        untrained: those of untrained models on the same prompts.
        groups: (prompts,) what a split keeps together, such as the template.
        early: layer to read.
        late: layer to predict.
        seed: of folds and intervals.

    Raises:
        ValueError: fewer than two groups.
    """
    units = np.asarray(groups)[routes.prompts]
    folds = grouped_folds(routes.tokens, units, seed=seed, kind="regression")

    def predicted(model: Routes) -> tuple[NDArray[Any], NDArray[Any]]:
        """The late experts, and those predicted from the early ones."""
        experts = model.chosen[late][:, 0]
        return experts, _classified(model.uses(early), experts, folds)

    labels, guesses = predicted(routes)
    which = np.unique(routes.tokens, return_inverse=True)[1]
    right = guesses == labels
    others = {
        "majority": majority_predictions(labels) == labels,
        "token": _classified(np.eye(which.max() + 1)[which], labels, folds) == labels,
        "untrained": np.mean([experts == guessed for experts, guessed in map(predicted, untrained)], axis=0),
    }
    return rate(
        "accuracy on the later layer's first expert",
        right,
        units,
        others,
        seed=seed,
        details={"early": early, "late": late, "experts": routes.experts[late]},
        tokens=sum(map(len, routes.encoded)),
        examples=_guessed(subject, routes, labels, guesses),
    )


def _classified(features: NDArray[Any], labels: NDArray[Any], folds: Folds) -> NDArray[Any]:
    """(R,) out-of-fold classes; where the training side holds one class, that one."""
    from sklearn.linear_model import RidgeClassifier

    guesses = np.empty_like(labels)
    for train, test in folds:
        classes = np.unique(labels[train])
        if len(classes) == 1:
            guesses[test] = classes[0]
        else:
            model = RidgeClassifier().fit(features[train].astype(float), labels[train])
            guesses[test] = model.predict(features[test].astype(float))
    return guesses


def specialised_expert(
    subject: Subject,
    routes: Routes,
    shuffled: Routes,
    untrained: Sequence[Routes],
    layer: int,
    least: int = 20,
    seed: int = 0,
) -> Measurement:
    """The share of the most specialised expert's uses at the first two tokens, a trigram with the beginning.

    The expert is chosen on one half of the prompts and measured on the other. Controls: `base_rate`, the share of
    all positions that are among the first two; `shuffled_tokens`, the same expert on prompts with their tokens in
    random order, which leaves only position; `untrained`, the most specialised experts of several untrained models.

    Args:
        subject: the model, to show prompts.
        routes: its routes on prompts of more than two tokens each.
        shuffled: its routes on the same prompts with their tokens shuffled.
        untrained: the routes of at least three untrained models on the prompts.
        layer: which layer's experts.
        least: uses below which an expert is not a candidate.
        seed: of the halves and intervals.

    Raises:
        ValueError: fewer than four prompts, or than three untrained models.
    """
    count = len(routes.encoded)
    if count < 4:
        raise ValueError(f"{count} prompts: give at least 4, half of them to choose the expert on")
    confirming = np.random.default_rng(seed).permutation(count) % 2 == 0
    expert = _most_at_start(routes, layer, ~confirming, least)
    score, interval, rows = _share_at_start(routes, layer, expert, confirming, seed)
    base = float((routes.positions < START)[confirming[routes.prompts]].mean())
    control, of_control, _ = _share_at_start(shuffled, layer, expert, confirming, seed)
    gain = difference_interval(score, interval, control, of_control)
    theirs = [
        _share_at_start(model, layer, _most_at_start(model, layer, ~confirming, least), confirming, seed)[0]
        for model in untrained
    ]
    return Measurement(
        score=score,
        low=interval.low,
        high=interval.high,
        n=max(1, len(rows)),
        groups=max(1, len(np.unique(routes.prompts[rows]))),
        unit="share of the expert's uses at the start",
        controls=(
            Control("base_rate", base, score - base, interval.low - base, interval.high - base),
            Control("shuffled_tokens", control, score - control, gain.low, gain.high),
            over_untrained(score, interval, theirs),
        ),
        seed=seed,
        details={"layer": layer, "expert": expert, "uses": len(rows)},
        tokens=sum(map(len, routes.encoded)),
        examples=_choices(subject, routes, layer),
    )


def _most_at_start(routes: Routes, layer: int, prompts: Booleans, least: int) -> int:
    """The expert with the largest share of its uses at the start, among those used often enough."""
    rows = prompts[routes.prompts]
    used = routes.uses(layer)[rows]
    times, at_start = used.sum(0), used[routes.positions[rows] < START].sum(0)
    shares = np.where(times >= min(least, times.max()), at_start / np.maximum(times, 1), -1.0)
    return int(shares.argmax())


def _share_at_start(
    routes: Routes, layer: int, expert: int, prompts: Booleans, seed: int
) -> tuple[float, Interval, NDArray[Any]]:
    """The share of an expert's uses at the start, its interval over prompts, and the rows of those uses."""
    rows = np.flatnonzero(routes.uses(layer)[:, expert] & prompts[routes.prompts])
    at_start = routes.positions[rows] < START
    if len(np.unique(routes.prompts[rows])) < 2:  # hardly used: no evidence
        return float(at_start.mean()) if len(rows) else 0.0, Interval(0.0, 1.0), rows
    return float(at_start.mean()), proportion_interval(at_start, routes.prompts[rows], seed=seed), rows


def _choices(subject: Subject, routes: Routes, layer: int, most: int = 6) -> tuple[Example, ...]:
    """Prompts with the experts that a layer chooses at their last token."""
    last = [int(np.flatnonzero(routes.prompts == i)[-1]) for i in range(min(most, len(routes.encoded)))]
    choices = [f"L{layer}: experts {', '.join(map(str, routes.chosen[layer][row]))}" for row in last]
    texts = [subject.decode(routes.encoded[i]) for i in range(len(last))]
    return tuple(Example(text, "", choice, True) for text, choice in zip(texts, choices, strict=True))


def _guessed(
    subject: Subject, routes: Routes, labels: NDArray[Any], guesses: NDArray[Any], most: int = 60
) -> tuple[Example, ...]:
    """Some positions, each as the text up to it, with the expert there and the one that was guessed."""
    rows = np.unique(np.linspace(0, len(routes) - 1, most).astype(int))
    texts = []
    for row in rows:
        ids = routes.encoded[routes.prompts[row]]
        after = int((routes.prompts == routes.prompts[row]).sum() - routes.positions[row] - 1)
        texts.append(subject.decode(ids[: len(ids) - after]))
    experts, predicted = labels[rows], guesses[rows]
    return some_examples(texts, experts.tolist(), predicted.tolist(), experts == predicted)
