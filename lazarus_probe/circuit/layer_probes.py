"""One property probed at many layers, on prompts whose group the probe has not met, beside controls.

A layer stands out if the declared claim that is asked about it is supported. Its p is the largest of those of shuffled
labels and of every control, each corrected for the layers looked at by the max statistic (Westfall & Young 1993): the
gain over a control is tested by flipping the signs of whole groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.judging import judge_together
from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.statistics import grouped_folds, max_statistic_p, paired_interval, permutation_null
from lazarus_probe.statistics.clusters import cluster_sums, index_clusters
from lazarus_probe.statistics.folds import encode
from lazarus_probe.statistics.measurement import Control, Growth, Measurement
from lazarus_probe.statistics.model_spread import one_more
from lazarus_probe.statistics.permutation import group_permutations
from lazarus_probe.statistics.probes.held_out import (
    HeldOut,
    Problem,
    constant,
    growth_of,
    held_out,
    held_out_models,
    interval_of,
    mean_of,
)
from lazarus_probe.statistics.probes.linear import standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH
from lazarus_probe.statistics.threads import one_thread

DRAWS = 999
Features = NDArray[Any]
Models = Mapping[str, Mapping[int, Sequence[Features]]]


@dataclass(frozen=True)
class LayerProbe:
    """A probe at one layer.

    Attributes:
        layer: from 0.
        accuracy: held out, over all prompts.
        low: lower end of its 95% interval, over groups.
        high: upper end.
        cv_mean: mean accuracy of the folds.
        cv_std: its deviation over the folds.
        train_accuracy: on the very prompts that it was fitted on, which says nothing.
        majority: accuracy of the commonest class.
        controls: what needs no model, or no training, and the gain over it with its 95% interval.
        gain_p: by control, the p of the gain, corrected for the layers; empty where nothing was drawn.
        p: of shuffled labels, corrected for the layers; None where none were drawn.
        shuffled: the 95% range (low, high) of shuffled labels, where they were drawn.
        n: prompts.
        groups: what splits kept together.
        classes: how many.
        growth: the end of its learning curve, or why it has none.
        verdict: on the claim, among all layers looked at; None where no labels were shuffled.
    """

    layer: int
    accuracy: float
    low: float
    high: float
    cv_mean: float
    cv_std: float
    train_accuracy: float
    majority: float
    controls: tuple[Control, ...]
    gain_p: Mapping[str, float]
    p: float | None
    shuffled: tuple[float, float] | None
    n: int
    groups: int
    classes: int
    growth: Growth | str | None = None
    verdict: Verdict | None = None

    @property
    def measurement(self) -> Measurement:
        """What a claim about the layer is judged by."""
        return Measurement(
            self.accuracy,
            min(self.low, self.accuracy),
            max(self.high, self.accuracy),
            n=self.n,
            groups=self.groups,
            unit="held-out accuracy",
            controls=self.controls,
            p=self.worst_p,
            details={"layer": self.layer},
            growth=self.growth,
        )

    @property
    def best_control(self) -> Control:
        """The control that it gains least over."""
        return min(self.controls, key=lambda control: control.gain)

    @property
    def worst_p(self) -> float:
        """The largest p of all that must be beaten; 1 where nothing was drawn."""
        return 1.0 if self.p is None else max(self.p, *self.gain_p.values())

    @property
    def beyond_controls(self) -> bool:
        """Whether the claim is supported: shuffled labels and every control are beaten."""
        return self.verdict is not None and self.verdict.outcome is Outcome.SUPPORTED

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "accuracy": self.accuracy,
            "train_accuracy": self.train_accuracy,
            "cv_mean": self.cv_mean,
            "cv_std": self.cv_std,
            "n_classes": self.classes,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "groups": self.groups,
            "majority": self.majority,
            "controls": {
                each.name: {
                    "accuracy": each.score,
                    "gain": each.gain,
                    "low": each.low,
                    "high": each.high,
                    "p": self.gain_p.get(each.name),
                }
                for each in self.controls
            },
            "shuffled": self.shuffled,
            "p": self.p,
            "beyond_controls": self.beyond_controls,
            "verdict": None if self.verdict is None else str(self.verdict),
        }


def probe_layers(
    features: Mapping[int, Features],
    labels: NDArray[Any],
    groups: NDArray[Any],
    known: Mapping[str, Mapping[int, Features]],
    claim: Claim,
    *,
    models: Models | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[int, LayerProbe]:
    """Probe each layer for the labels.

    Args:
        features: by layer, (N, D).
        labels: (N,) classes.
        groups: (N,) what a split keeps together.
        known: by control, by layer, the features (N, any) that the probe is given instead.
        claim: what is asked about each layer; the layers are one family.
        models: by kind of control model, by layer, the features (N, D) in each of at least three such models, whose
            interval of the gain holds for one more.
        draws: shuffles of the labels; 0 for no p.
        seed: of folds, shuffles and intervals.

    Raises:
        ValueError: as `grouped_folds`.
        ClaimError: a control that the claim declares is not among those known.
    """
    with one_thread():
        scores = {layer: held_out(_problem(each, labels, groups, seed)) for layer, each in features.items()}
        p, ranges = _nulls(features, scores, labels, groups, draws, seed) if draws else ({}, {})
        rivals = {
            "majority": {n: constant(_problem(each, labels, groups, seed)) for n, each in features.items()}
        }
        rivals |= {
            name: {n: held_out(_problem(each[n], labels, groups, seed)) for n in features}
            for name, each in known.items()
        }
        several = {
            name: {
                n: held_out_models([_problem(one, labels, groups, seed) for one in each[n]]) for n in features
            }
            for name, each in (models or {}).items()
        }
        rivals |= {name: {n: mean_of(each[n]) for n in features} for name, each in several.items()}
        gains = {name: _gains(name, scores, each) for name, each in rivals.items()}
        gain_p = {name: _flipped(each, groups, draws, seed) for name, each in gains.items()} if draws else {}
        found = {}
        for layer, score in scores.items():
            interval = interval_of(score, groups, "classification", seed)
            folds = _fold_accuracies(score, labels, groups, seed)
            growth = growth_of(_problem(features[layer], labels, groups, seed), score, groups)
            controls = {
                name: _control(name, each[layer], score, groups, seed) for name, each in gains.items()
            }
            controls |= {
                name: one_more(controls[name], [model.score for model in each[layer]])
                for name, each in several.items()
            }
            found[layer] = LayerProbe(
                layer,
                score.score,
                interval.low,
                interval.high,
                float(np.mean(folds)),
                float(np.std(folds)),
                _in_sample(features[layer], labels),
                rivals["majority"][layer].score,
                tuple(controls.values()),
                {name: each[layer] for name, each in gain_p.items()},
                p.get(layer),
                ranges.get(layer),
                len(labels),
                len(np.unique(groups)),
                len(np.unique(labels)),
                growth,
            )
    return _judged(found, claim) if draws else found


def _judged(probes: Mapping[int, LayerProbe], claim: Claim) -> dict[int, LayerProbe]:
    verdicts = judge_together({str(layer): (claim, each.measurement) for layer, each in probes.items()})
    return {layer: replace(each, verdict=verdicts[str(layer)]) for layer, each in probes.items()}


def _problem(features: Features, labels: NDArray[Any], groups: NDArray[Any], seed: int) -> Problem:
    return Problem.of(features, labels, groups, "classification", seed)


def _nulls(
    features: Mapping[int, Features],
    scores: Mapping[int, HeldOut],
    labels: NDArray[Any],
    groups: NDArray[Any],
    draws: int,
    seed: int,
) -> tuple[dict[int, float], dict[int, tuple[float, float]]]:
    """By layer, the corrected p, and the range of shuffled labels.

    Where each group has one label, groups exchange labels and a probe is fitted anew. Where groups have several, those
    of a group are exchanged, and the predictions, which come from other groups, are held.
    """
    if mixed(labels, groups):
        shuffled = shuffles(labels, groups, np.random.default_rng(seed), draws)
        observed = [score.score for score in scores.values()]
        nulls = [(shuffled == score.predictions).mean(axis=1) for score in scores.values()]
    else:
        tests = [permutation_null(each, labels, groups, draws, seed) for each in features.values()]
        observed, nulls = [test.observed for test in tests], [test.null for test in tests]
    values = max_statistic_p(observed, np.stack(nulls, axis=1)).tolist()
    ends = [np.quantile(null, [0.025, 0.975]).tolist() for null in nulls]
    return (
        dict(zip(features, values, strict=True)),
        {layer: (low, high) for layer, (low, high) in zip(features, ends, strict=True)},
    )


def mixed(labels: NDArray[Any], groups: NDArray[Any]) -> bool:
    """Whether some group holds several labels."""
    return any(len(np.unique(labels[groups == group])) > 1 for group in np.unique(groups))


def shuffles(
    labels: NDArray[Any], groups: NDArray[Any], rng: np.random.Generator, draws: int
) -> NDArray[Any]:
    """(draws, N) labels shuffled as the null allows, the rows of one group and label staying together.

    `group_permutations` where each group has one label. Where groups hold several, each exchanges its own: single rows
    would not do, for those of one template are no more independent than those of one group.
    """
    if not mixed(labels, groups):
        return group_permutations(labels, groups, rng, draws)
    shuffled = np.empty((draws, len(labels)), dtype=labels.dtype)
    for group in np.unique(groups):
        rows = groups == group
        own, codes = np.unique(labels[rows], return_inverse=True)
        orders = rng.permuted(np.tile(np.arange(len(own)), (draws, 1)), axis=1)
        shuffled[:, rows] = own[orders[:, codes]]
    return shuffled


def _gains(
    name: str, scores: Mapping[int, HeldOut], rivals: Mapping[int, HeldOut]
) -> dict[int, NDArray[np.float64]]:
    """By layer, (N,) what each row adds to the gain; over the majority, whose hits are all of one label, its share."""
    if name == "majority":
        return {layer: score.hits - rivals[layer].score for layer, score in scores.items()}
    return {layer: score.hits - rivals[layer].hits for layer, score in scores.items()}


def _flipped(
    gains: Mapping[int, NDArray[np.float64]], groups: NDArray[Any], draws: int, seed: int
) -> dict[int, float]:
    """By layer, the corrected p of a gain above 0, when each group could as well have the other sign."""
    index, count = index_clusters(groups, len(groups))
    sums = np.stack([cluster_sums(gain, index, count) for gain in gains.values()], axis=1)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, count))
    return dict(zip(gains, max_statistic_p(sums.sum(0), signs @ sums).tolist(), strict=True))


def _control(
    name: str, gain: NDArray[np.float64], score: HeldOut, groups: NDArray[Any], seed: int
) -> Control:
    interval, mean = paired_interval(gain, groups, seed=seed), float(gain.mean())
    return Control(name, score.score - mean, mean, min(interval.low, mean), max(interval.high, mean))


def _fold_accuracies(
    score: HeldOut, labels: NDArray[Any], groups: NDArray[Any], seed: int
) -> NDArray[np.float64]:
    """(folds,) over the very folds of the probe."""
    return np.array([score.hits[test].mean() for _, test in grouped_folds(labels, groups, seed=seed)])


def _in_sample(features: Features, labels: NDArray[Any]) -> float:
    rows = standardise(features.astype(np.float64), features.astype(np.float64))[0]
    codes = encode(labels)[1]
    return float((fit_logistic(rows, codes, USUAL_STRENGTH).scores(rows).argmax(1) == codes).mean())


def emergence_of(probes: Mapping[int, LayerProbe]) -> int | None:
    """The first layer at which the claim is supported, if there is one."""
    return next((layer for layer, probe in probes.items() if probe.beyond_controls), None)
