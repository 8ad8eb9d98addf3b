"""One property probed at many layers, on prompts of held-out groups, compared with controls.

A layer stands out if the claim about it is supported. Its p is the largest of those of shuffled labels and of every
control, each corrected for the layers by the max statistic (Westfall & Young 1993): the gain over a control is tested
by flipping the signs of whole groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.judging import judge_together
from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.statistics.clusters import cluster_sums, index_clusters
from lazarus_probe.statistics.folds import encode, grouped_folds
from lazarus_probe.statistics.measurement import Control, Growth, Measurement
from lazarus_probe.statistics.permutation import max_statistic_p
from lazarus_probe.statistics.probes.held_out import (
    DRAWS,
    HeldOut,
    control_gains,
    growth_of,
    interval_of,
    mean_of,
)
from lazarus_probe.statistics.probes.linear import standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH
from lazarus_probe.statistics.threads import one_thread


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
        train_accuracy: on the prompts that it was fitted on; not evidence of anything.
        majority: accuracy of the majority class.
        controls: the probe without the model or without training, and the gain over each with its 95% interval.
        gain_p: by control, the p of the gain, corrected for the layers; empty where nothing was drawn.
        p: of shuffled labels, corrected for the layers; None where none were drawn.
        shuffled: the 95% range (low, high) of shuffled labels, where they were drawn.
        n: prompts.
        groups: that were never split between train and test.
        classes: how many.
        growth: the end of its learning curve, or why it has none.
        verdict: on the claim, among all layers; None where no labels were shuffled.
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
        """For a claim about the layer."""
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
        """The largest p, of shuffled labels and of every control; 1 where nothing was drawn."""
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
                control.name: {
                    "accuracy": control.score,
                    "gain": control.gain,
                    "low": control.low,
                    "high": control.high,
                    "p": self.gain_p.get(control.name),
                }
                for control in self.controls
            },
            "shuffled": self.shuffled,
            "p": self.p,
            "beyond_controls": self.beyond_controls,
            "verdict": None if self.verdict is None else str(self.verdict),
        }


def judged_probes(scan: Scan, claim: Claim | None) -> dict[int, LayerProbe]:
    """The probe of each layer of a scan, with its controls and its verdict.

    Args:
        scan: the probes.
        claim: judged at each layer, all layers as one family; None for no p and no verdict.

    Raises:
        ValueError: as `grouped_folds`.
        ClaimError: a control that the claim declares is not among those of the scan.
    """
    with one_thread():
        controls = {layer: _controls(scan, layer) for layer in scan.layers}
        p = {} if claim is None else scan.p()
        gain_p = {} if claim is None else _gain_p(scan, controls)
        probes = {
            layer: _layer_probe(scan, layer, controls[layer], gain_p.get(layer, {}), p.get(layer))
            for layer in scan.layers
        }
    if claim is None:
        return probes
    verdicts = judge_together({str(layer): (claim, probe.measurement) for layer, probe in probes.items()})
    return {layer: replace(probe, verdict=verdicts[str(layer)]) for layer, probe in probes.items()}


def _controls(scan: Scan, layer: int) -> dict[str, HeldOut]:
    """The controls of a layer. The majority class is right on rows of one label, and counts with its share on all."""
    controls = dict(scan.controls(layer))
    majority = controls["majority"]
    return controls | {"majority": replace(majority, hits=np.full_like(majority.hits, majority.score))}


def _gain_p(scan: Scan, controls: Mapping[int, Mapping[str, HeldOut]]) -> dict[int, dict[str, float]]:
    """By layer and control, the p of a gain above 0, corrected for the layers."""
    groups, draws = scan.dataset.groups, DRAWS if scan.draws is None else scan.draws
    others = {
        layer: {**controls[layer], **{kind: mean_of(models) for kind, models in scan.models(layer).items()}}
        for layer in scan.layers
    }
    by_control = {
        name: max_sign_flip_p(
            {layer: scan.scores[layer].hits - others[layer][name].hits for layer in scan.layers},
            groups,
            draws,
            scan.seed,
        )
        for name in others[scan.layers[0]]
    }
    return {layer: {name: p[layer] for name, p in by_control.items()} for layer in scan.layers}


def max_sign_flip_p(
    gains: Mapping[int, NDArray[np.float64]], groups: NDArray[Any], draws: int, seed: int
) -> dict[int, float]:
    """By layer, the corrected p of a mean gain (N,) above 0, by flipping the signs of whole groups."""
    index, count = index_clusters(groups, len(groups))
    sums = np.stack([cluster_sums(gain, index, count) for gain in gains.values()], axis=1)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, count))
    return dict(zip(gains, max_statistic_p(sums.sum(0), signs @ sums).tolist(), strict=True))


def _layer_probe(
    scan: Scan, layer: int, controls: Mapping[str, HeldOut], gain_p: Mapping[str, float], p: float | None
) -> LayerProbe:
    score, labels, groups, seed = scan.scores[layer], scan.dataset.labels, scan.dataset.groups, scan.seed
    interval = interval_of(score, groups, scan.kind, seed)
    folds = [score.hits[test].mean() for _, test in grouped_folds(labels, groups, seed=seed)]
    return LayerProbe(
        layer,
        score.score,
        interval.low,
        interval.high,
        float(np.mean(folds)),
        float(np.std(folds)),
        _in_sample(scan.inputs[layer].features, labels),
        scan.controls(layer)["majority"].score,
        control_gains(score, controls, scan.models(layer), groups, scan.kind, seed),
        gain_p,
        p,
        None if p is None else scan.null(layer).interval,
        len(labels),
        len(np.unique(groups)),
        len(np.unique(labels)),
        growth_of(scan.problems[layer], score, groups),
    )


def _in_sample(features: NDArray[Any], labels: NDArray[Any]) -> float:
    rows = standardise(features.astype(np.float64), features.astype(np.float64))[0]
    codes = encode(labels)[1]
    return float((fit_logistic(rows, codes, USUAL_STRENGTH).scores(rows).argmax(1) == codes).mean())


def first_supported_layer(probes: Mapping[int, LayerProbe]) -> int | None:
    """The first layer at which the claim is supported, if there is one."""
    return next((layer for layer, probe in probes.items() if probe.beyond_controls), None)
