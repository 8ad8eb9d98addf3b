"""Directions that separate two labels, scored on groups that had no part in them.

Three ways: the difference of the two means; linear discriminant analysis (Fisher 1936), with the covariance shrunk; the
weights of a logistic probe. A direction of many dimensions separates the very prompts it was made of whatever they
mean, so accuracy and separation are of held-out groups, beside the same for shuffled labels, and for a bag of the
prompts' words in place of the activations. Labels need not be as common as each other, so what is compared is balanced
accuracy, the mean over the two labels, of which chance is one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.activations import Collected
from lazarus_probe.circuit.extraction import CLAIM, Extracted, Extraction
from lazarus_probe.circuit.geometry import bag_of_words, rows_with
from lazarus_probe.circuit.separation import METHODS, Scored, balance, held_out_hits, score
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_declared
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics import (
    Interval,
    max_statistic_p,
    paired_interval,
    proportion_interval,
)
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.statistics.threads import one_thread

DRAWS = {"diff_means": 199, "lda": 199, "probe_weights": 99}
Floats = NDArray[np.float64]


def extract(
    collected: Collected,
    layers: Sequence[int] | None = None,
    method: str = "diff_means",
    *,
    draws: int | None = None,
    seed: int = 0,
) -> Extraction:
    """The direction from one label to the other, at each layer.

    Args:
        collected: activations of prompts with two labels; the larger label is the positive one.
        layers: which; all that were collected, if left out.
        method: `diff_means`, `lda` or `probe_weights`.
        draws: shuffles of the labels; as many as the method's cost allows, if left out.
        seed: of folds and shuffles.

    Raises:
        ValueError: an unknown method, other than two labels, no groups, or a layer that was not collected.
    """
    prompts = collected.prompts
    rows = rows_with(collected, prompts.labels)
    known = sorted({prompts.labels[i] for i in rows}, key=lambda label: (str(type(label)), label))
    if len(known) != 2:
        raise ValueError(
            f"a direction is between two labels; prompts with a group have {len(known)}: "
            f"{', '.join(map(str, known[:6])) or 'none'}"
        )
    positive = np.array([prompts.labels[i] == known[1] for i in rows])
    names = prompts.called(known[1]), prompts.called(known[0])
    return _extraction(collected, rows, positive, names, layers, method, draws, seed)


def extract_per_category(
    collected: Collected,
    layers: Sequence[int] | None = None,
    method: str = "diff_means",
    *,
    draws: int | None = None,
    seed: int = 0,
) -> dict[str, Extraction]:
    """By category of the positive label, such as a tool, the direction to it from all other prompts.

    Raises:
        ValueError: as `extract`, or no categories.
    """
    prompts = collected.prompts
    rows = rows_with(collected, prompts.categories)
    labels = sorted({prompts.labels[i] for i in rows if prompts.labels[i] is not None}, key=str)
    wanted = (
        sorted({str(prompts.categories[i]) for i in rows if prompts.labels[i] == labels[-1:][0]})
        if labels
        else []
    )
    if not wanted:
        raise ValueError(
            "no prompt with a label and a group has a category; give each its tool as `category`"
        )
    found = {}
    for category in wanted:
        positive = np.array([str(prompts.categories[i]) == category for i in rows])
        names = category, f"not_{category}"
        found[category] = _extraction(collected, rows, positive, names, layers, method, draws, seed)
    return found


def _extraction(
    collected: Collected,
    rows: NDArray[np.intp],
    positive: NDArray[np.bool_],
    names: tuple[str, str],
    layers: Sequence[int] | None,
    method: str,
    draws: int | None,
    seed: int,
) -> Extraction:
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; {one_of(method, METHODS)}")
    draws = DRAWS[method] if draws is None else draws
    groups = np.array([str(collected.prompts.groups[i]) for i in rows])
    name = f"{names[0]}_vs_{names[1]}" if not names[1].startswith("not_") else names[0]
    wanted = collected.layer_or_all(layers)
    bag = bag_of_words([collected.prompts.texts[i] for i in rows])
    with one_thread():
        words = held_out_hits(bag, positive, groups, method, seed)
        scored = {n: score(collected.hidden[n][rows], positive, groups, method, draws, seed) for n in wanted}
    weights = balance(positive)
    observed = [float((each.hits * weights).mean()) for each in scored.values()]
    p = max_statistic_p(observed, np.stack([each.null for each in scored.values()], axis=1)).tolist()
    level = 1 - declared(CLAIM).alpha / len(wanted)
    found = {}
    for (layer, each), value in zip(scored.items(), p, strict=True):
        rivals = {"constant": np.full(len(rows), 0.5), "bag_of_words": words}
        controls = tuple(
            _gain(rival, each.hits, hits, weights, groups, level, seed) for rival, hits in rivals.items()
        )
        found[layer] = _described(name, layer, method, each, positive, groups, controls, value, seed)
    # The p and every interval are corrected for the layers, so each verdict holds among all of them.
    judged = {
        layer: replace(each, verdict=judge_declared(CLAIM, each.measurement)) for layer, each in found.items()
    }
    return Extraction(name, collected.model_id, *names, judged)


def _gain(
    name: str, hits: Floats, other: Floats, weights: Floats, groups: NDArray[Any], level: float, seed: int
) -> Control:
    differences = (hits - other) * weights
    interval = paired_interval(differences, groups, level, seed=seed, bound=float(weights.max()))
    return Control(
        name, float((other * weights).mean()), float(differences.mean()), interval.low, interval.high
    )


def _described(
    name: str,
    layer: int,
    method: str,
    scored: Scored,
    positive: NDArray[np.bool_],
    groups: NDArray[Any],
    controls: tuple[Control, ...],
    p: float,
    seed: int,
) -> Extracted:
    interval: Interval = proportion_interval(scored.hits, groups, seed=seed)
    return Extracted(
        name,
        layer,
        method,
        scored.vector.astype(np.float32),
        float(scored.hits.mean()),
        interval.low,
        interval.high,
        scored.separation,
        float((scored.hits * balance(positive)).mean()),
        float(max(positive.mean(), 1 - positive.mean())),
        controls,
        float(scored.null.mean()),
        p,
        int(positive.sum()),
        int((~positive).sum()),
        len(np.unique(groups)),
    )


def save(path: Path, found: Extraction) -> None:
    """Write directions to an npz file: `layer_{L}` (D,) each, and the best as one that can be steered along.

    It has the keys of `introspection.directions.direction_file` for the layer that does best on groups not met, so that
    `lazarus introspect steer -d` takes the file as it is.

    Raises:
        OSError: the file cannot be written.
    """
    from lazarus_probe.introspection.directions.direction_file import Direction, write_direction

    path.parent.mkdir(parents=True, exist_ok=True)
    best = found.best
    extra: dict[str, Any] = {f"layer_{layer}": each.vector for layer, each in found.directions.items()}
    numbers = best.as_data()
    extra |= {key: numbers[key] for key in ("norm", "low", "high", "majority", "null_accuracy", "p")}
    write_direction(
        path,
        Direction(
            best.vector,
            best.layer,
            found.name,
            found.positive,
            found.negative,
            found.model_id,
            best.method,
            best.accuracy,
            best.separation,
            extra,
        ),
    )
