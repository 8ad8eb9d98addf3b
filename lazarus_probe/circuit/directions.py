"""Directions that separate two labels, scored on groups that had no part in them.

Three ways: the difference of the two means; linear discriminant analysis (Fisher 1936), with the covariance shrunk; the
weights of a logistic probe. A direction of many dimensions separates the very prompts it was made of whatever they
mean, so accuracy and separation are of held-out groups, beside the same for shuffled labels, and for a bag of the
prompts' words in place of the activations. Labels need not be as common as each other, so what is compared is balanced
accuracy, the mean over the two labels, of which chance is one half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.circuit.activations import Collected
from lazarus_probe.circuit.geometry import bag_of_words, rows_with
from lazarus_probe.circuit.separation import METHODS, Scored, balance, held_out_hits, score
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_declared
from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.introspection.display import table
from lazarus_probe.statistics import (
    Interval,
    max_statistic_p,
    paired_interval,
    proportion_interval,
)
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.threads import one_thread

DRAWS = {"diff_means": 199, "lda": 199, "probe_weights": 99}
CLAIM = "direction-separates-labels"
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Extracted:
    """A direction at one layer, of all prompts, and what such directions are worth on groups not met.

    Attributes:
        name: as in `tool_vs_no_tool`.
        layer: from 0.
        method: how it was made.
        vector: (D,) in the units of the activations; of length 1 unless it is a difference of means.
        accuracy: held out, with the threshold half way between the training means.
        low: lower end of its 95% interval over groups.
        high: upper end.
        separation: held out, the distance of the two means along the direction in pooled deviations (Cohen's d).
        balanced: the held-out accuracy, each label counting one half.
        majority: accuracy of the commoner label.
        controls: a `constant` answer and a `bag_of_words`, with the gain of the balanced accuracy over them; its
            interval is corrected for the layers looked at.
        null_accuracy: mean balanced accuracy with shuffled labels.
        p: how often shuffled labels reach the balanced accuracy at the best of the layers looked at.
        n_positive: prompts of the positive label.
        n_negative: prompts of the negative label.
        groups: templates.
        verdict: on the claim `direction-separates-labels`, among the layers looked at.
    """

    name: str
    layer: int
    method: str
    vector: NDArray[np.float32]
    accuracy: float
    low: float
    high: float
    separation: float
    balanced: float
    majority: float
    controls: tuple[Control, ...]
    null_accuracy: float
    p: float
    n_positive: int
    n_negative: int
    groups: int
    verdict: Verdict | None = None

    @property
    def measurement(self) -> Measurement:
        """What the claim is judged by; a constant answer is always half right, so its gain gives the interval."""
        constant = next(control for control in self.controls if control.name == "constant")
        return Measurement(
            self.balanced,
            min(self.balanced, constant.score + constant.low),
            max(self.balanced, constant.score + constant.high),
            n=self.n_positive + self.n_negative,
            groups=self.groups,
            unit="held-out balanced accuracy",
            controls=self.controls,
            p=self.p,
            details={"layer": self.layer, "method": str(self.method)},
        )

    @property
    def beyond_controls(self) -> bool:
        """Whether it separates groups not met better than shuffled labels, a constant, and the prompts' words."""
        return self.verdict is not None and self.verdict.outcome is Outcome.SUPPORTED

    def as_data(self) -> dict[str, Any]:
        """Plain data, without the vector."""
        return {
            "name": self.name,
            "layer": self.layer,
            "method": self.method,
            "norm": float(np.linalg.norm(self.vector)),
            "separation_score": self.separation,
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "balanced_accuracy": self.balanced,
            "majority": self.majority,
            "controls": {
                each.name: {"accuracy": each.score, "gain": each.gain, "low": each.low, "high": each.high}
                for each in self.controls
            },
            "null_accuracy": self.null_accuracy,
            "p": self.p,
            "beyond_controls": self.beyond_controls,
            "claim": CLAIM,
            "verdict": None if self.verdict is None else str(self.verdict),
            "n_positive": self.n_positive,
            "n_negative": self.n_negative,
            "groups": self.groups,
        }


@dataclass(frozen=True, eq=False)
class Extraction:
    """The directions of two labels at some layers.

    Attributes:
        name: as in `tool_vs_no_tool`.
        model_id: the model.
        positive: what the direction points to.
        negative: what it points away from.
        directions: by layer.
    """

    name: str
    model_id: str
    positive: str
    negative: str
    directions: Mapping[int, Extracted]

    @property
    def best(self) -> Extracted:
        """The one that does best on groups not met; chosen among all, so p is corrected for their number."""
        return max(self.directions.values(), key=lambda each: each.balanced)

    def as_data(self) -> dict[str, Any]:
        """Plain data, without the vectors."""
        return {
            "name": self.name,
            "model_id": self.model_id,
            "positive_label": self.positive,
            "negative_label": self.negative,
            "best_layer": self.best.layer,
            "directions": {str(layer): each.as_data() for layer, each in self.directions.items()},
        }

    def _repr_html_(self) -> str:
        rows = [
            [
                layer,
                f"{each.balanced:.2f}",
                f"{each.separation:.2f}",
                f"{each.null_accuracy:.2f}",
                f"{each.p:.3f}",
            ]
            for layer, each in self.directions.items()
        ]
        return table(self.name, ["layer", "held out, balanced", "separation", "shuffled", "p"], rows)


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
        raise ValueError(f"method {method!r} is unknown; one of {', '.join(METHODS)}")
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

    It has the keys of `introspection.direction_file` for the layer that does best on groups not met, so that
    `lazarus introspect steer -d` takes the file as it is.

    Raises:
        OSError: the file cannot be written.
    """
    from lazarus_probe.introspection.direction_file import Direction, write_direction

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
