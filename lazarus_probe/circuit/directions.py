"""Directions that separate two labels, scored on held-out groups.

A direction of many dimensions separates the prompts it was fitted on whatever they mean, so accuracy and separation are
of held-out groups, compared with shuffled labels, and with a bag of the prompts' words in place of the activations.
Labels may be imbalanced, so the comparison is of balanced accuracy: the mean over the two labels, one half by chance.
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
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_declared
from lazarus_probe.introspection.directions.class_direction import (
    METHODS,
    Method,
    fit_direction,
    separations,
)
from lazarus_probe.introspection.directions.direction_file import Direction, write_direction
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.folds import grouped_folds
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.statistics.permutation import group_permutations, max_statistic_p
from lazarus_probe.statistics.threads import one_thread

DRAWS: dict[Method, int] = {"difference_of_means": 199, "lda": 199, "logistic": 99}
Floats = NDArray[np.float64]


def extract(
    collected: Collected,
    layers: Sequence[int] | None = None,
    method: Method = "difference_of_means",
    *,
    draws: int | None = None,
    seed: int = 0,
) -> Extraction:
    """The direction from one label to the other, at each layer.

    Args:
        collected: activations of prompts with two labels; the larger label is the positive one.
        layers: which; all that were collected, if left out.
        method: `difference_of_means`, `lda` or `logistic`.
        draws: shuffles of the labels; as many as the method's cost allows, if left out.
        seed: of folds and shuffles.

    Raises:
        ValueError: an unknown method, other than two labels, no groups, a layer that was not collected, or one where
            the labels have the same mean.
    """
    prompts = collected.prompts
    rows = rows_with(collected, prompts.labels)
    labels = sorted({prompts.labels[i] for i in rows}, key=lambda label: (str(type(label)), label))
    if len(labels) != 2:
        raise ValueError(
            f"a direction is between two labels; prompts with a group have {len(labels)}: "
            f"{', '.join(map(str, labels[:6])) or 'none'}"
        )
    positive = np.array([prompts.labels[i] == labels[1] for i in rows])
    names = prompts.called(labels[1]), prompts.called(labels[0])
    return _extraction(collected, rows, positive, names, layers, method, draws, seed)


def extract_per_category(
    collected: Collected,
    layers: Sequence[int] | None = None,
    method: Method = "difference_of_means",
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
    if not labels:
        raise ValueError(
            "no prompt with a label and a group has a category; give each its tool as `category`"
        )
    extractions = {}
    for category in sorted({str(prompts.categories[i]) for i in rows if prompts.labels[i] == labels[-1]}):
        positive = np.array([str(prompts.categories[i]) == category for i in rows])
        names = category, f"not_{category}"
        extractions[category] = _extraction(collected, rows, positive, names, layers, method, draws, seed)
    return extractions


def _extraction(
    collected: Collected,
    rows: NDArray[np.intp],
    positive: NDArray[np.bool_],
    names: tuple[str, str],
    layers: Sequence[int] | None,
    method: Method,
    draws: int | None,
    seed: int,
) -> Extraction:
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; {one_of(method, METHODS)}")
    groups = np.array([str(collected.prompts.groups[i]) for i in rows])
    wanted = collected.layer_or_all(layers)
    features = {layer: collected.hidden[layer][rows] for layer in wanted}
    bag = bag_of_words([collected.prompts.texts[i] for i in rows])
    count = DRAWS[method] if draws is None else draws
    shuffled = group_permutations(positive, groups, np.random.default_rng(seed), count, keep_blocks=True)
    folds = grouped_folds(positive, groups, seed=seed, kind="regression")  # not stratified by the true labels
    with one_thread():
        (words,) = separations(bag, [positive], folds, method)
        vectors = {layer: _vector(features[layer], positive, method) for layer in wanted}
        held_out = {
            layer: separations(features[layer], [positive, *shuffled], folds, method) for layer in wanted
        }
    weights, of_shuffled = balance(positive), [balance(labels) for labels in shuffled]
    observed = [float((of_true.hits * weights).mean()) for of_true, *_ in held_out.values()]
    null = {
        layer: np.array(
            [(scores.hits * weight).mean() for scores, weight in zip(null_scores, of_shuffled, strict=True)]
        )
        for layer, (_, *null_scores) in held_out.items()
    }
    p = max_statistic_p(observed, np.stack(list(null.values()), axis=1)).tolist()
    level = 1 - declared(CLAIM).alpha / len(wanted)
    name = f"{names[0]}_vs_{names[1]}" if not names[1].startswith("not_") else names[0]
    directions = {}
    for layer, balanced, p_value in zip(wanted, observed, p, strict=True):
        separation = held_out[layer][0]
        rivals = {"constant": np.full(len(rows), 0.5), "bag_of_words": words.hits}
        interval = proportion_interval(separation.hits, groups, seed=seed)
        extracted = Extracted(
            name=name,
            layer=layer,
            method=method,
            vector=vectors[layer].astype(np.float32),
            accuracy=float(separation.hits.mean()),
            low=interval.low,
            high=interval.high,
            separation=separation.cohens_d,
            balanced=balanced,
            majority=float(max(positive.mean(), 1 - positive.mean())),
            controls=tuple(
                _gain(rival, separation.hits, hits, weights, groups, level, seed)
                for rival, hits in rivals.items()
            ),
            null_accuracy=float(null[layer].mean()),
            p=p_value,
            n_positive=int(positive.sum()),
            n_negative=int((~positive).sum()),
            groups=len(np.unique(groups)),
        )
        # p and every interval are corrected for the layers, so the verdicts hold together.
        directions[layer] = replace(extracted, verdict=judge_declared(CLAIM, extracted.measurement))
    return Extraction(name, collected.model_id, *names, directions)


def _vector(features: NDArray[Any], positive: NDArray[np.bool_], method: Method) -> Floats:
    """(D,) the direction of all rows, of length 1 unless it is the difference of means."""
    vector = fit_direction(features, positive, method)
    return vector if method == "difference_of_means" else np.asarray(vector / np.linalg.norm(vector))


def balance(positive: NDArray[np.bool_]) -> Floats:
    """(N,) the weight of each prompt in the balanced accuracy, where either label counts one half."""
    return np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))


def _gain(
    name: str, hits: Floats, control: Floats, weights: Floats, groups: NDArray[Any], level: float, seed: int
) -> Control:
    differences = (hits - control) * weights
    interval = paired_interval(differences, groups, level, seed=seed, bound=float(weights.max()))
    return Control(
        name, float((control * weights).mean()), float(differences.mean()), interval.low, interval.high
    )


def save(path: Path, extraction: Extraction) -> None:
    """Write directions to an npz file: `layer_{L}` (D,) each, and the best as one to steer along.

    It has the keys of `introspection.directions.direction_file` for the layer of the best held-out accuracy, so that
    `lazarus introspect steer -d` takes the file as it is.

    Raises:
        OSError: the file cannot be written.
    """
    best = extraction.best
    numbers = best.as_data()
    extra: dict[str, Any] = {
        f"layer_{layer}": direction.vector for layer, direction in extraction.directions.items()
    }
    extra |= {key: numbers[key] for key in ("norm", "low", "high", "majority", "null_accuracy", "p")}
    write_direction(
        path,
        Direction(
            best.vector,
            best.layer,
            extraction.name,
            extraction.positive,
            extraction.negative,
            extraction.model_id,
            best.method,
            best.accuracy,
            best.separation,
            extra,
        ),
    )
