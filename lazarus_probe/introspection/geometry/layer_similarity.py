"""Which layers separate groups of prompts: cosines between their states at the last token.

States are centred on the other prompts and compared without outlier dimensions, since raw cosines of a trained model
are all near 1. Any model separates prompts of different words. So groups are said to be apart only where the declared
claim `layer-distinguishes-groups` is supported: beyond shuffled labels at every layer at once, and beyond what
untrained and lesioned models of the same architecture do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import factorial, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_declared, verdict_data
from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.geometry.similarity import Clusters, clusters, separation
from lazarus_probe.introspection.geometry.states import centred_on, compared, outlier_data, outlier_lines
from lazarus_probe.statistics.centred import StateCosines
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.model_spread import over_others
from lazarus_probe.statistics.permutation import group_permutations, max_statistic_p
from lazarus_probe.subject.control_models import COUNT, built, control_models, faced
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DRAWS = 999
CLAIM = "layer-distinguishes-groups"


@dataclass(frozen=True, eq=False)
class LayerSimilarity:
    """Cosines between N prompts at some layers.

    Attributes:
        prompts: N texts.
        labels: (N,) the group of each; None without groups.
        layers: after which blocks.
        matrices: (L, N, N) cosines of the states at the last token.
        cosines: (L,) the same with the raw ones, and with the dimensions that were left out.
        centre: what states were centred on, in words; empty for raw cosines.
        clusters: (L,) their means within and between groups.
        p: (L,) of the separation, labels shuffled, corrected for the number of layers; None where there is none.
        measurements: (L,) the separation and that of untrained models, with p; their intervals hold for all layers
            together. None where there are no groups, prompts or untrained models to measure it with.
        least_p: the smallest p that so many prompts can reach; None without groups.
        untrained: how many untrained models there were to compare with.
    """

    prompts: tuple[str, ...]
    labels: tuple[str, ...] | None
    layers: tuple[int, ...]
    matrices: NDArray[np.float64]
    cosines: tuple[StateCosines, ...]
    centre: str
    clusters: tuple[Clusters, ...]
    p: tuple[float, ...] | None
    measurements: tuple[Measurement, ...] | None
    least_p: float | None
    untrained: int

    def verdict(self, index: int) -> Verdict | None:
        """On the claim that a layer holds the groups apart; None where nothing was measured."""
        return None if self.measurements is None else judge_declared(CLAIM, self.measurements[index])

    def distinguishes(self, index: int) -> bool:
        """Whether a layer is shown to hold the groups apart."""
        verdict = self.verdict(index)
        return verdict is not None and verdict.outcome is Outcome.SUPPORTED

    def why_untestable(self) -> str | None:
        """Why nothing can be claimed about the groups; None where it can."""
        if self.labels is None:
            return "no labels, so there are no groups to separate"
        sizes = sorted(self.labels.count(label) for label in set(self.labels))
        if len(sizes) < 2:
            return "all prompts have one label; give at least two"
        if sizes[0] < 2:
            return f"n = {', '.join(map(str, sizes))} prompts per label cannot show it; give at least 4 per label"
        if len(set(self.prompts)) < len(self.prompts):
            return "a prompt is given twice, which adds no evidence; give each once"
        alpha = declared(CLAIM).alpha
        if self.least_p is None or self.least_p > alpha:
            return f"n = {len(self.prompts)} prompts cannot reach p = {alpha}; give at least 4 per label"
        return None if self.untrained else "there are no untrained models to compare with"

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "prompts": list(self.prompts),
            "labels": None if self.labels is None else list(self.labels),
            "layers": list(self.layers),
            "similarity_matrices": {
                str(layer): matrix.tolist() for layer, matrix in zip(self.layers, self.matrices, strict=True)
            },
            "clusters": {}
            if self.labels is None
            else {str(layer): self._layer(index) for index, layer in enumerate(self.layers)},
            "n": len(self.prompts),
            "least_p": self.least_p,
            "untrained": self.untrained,
            "missing": self.why_untestable(),
            "centred_on": self.centre or None,
            "raw_similarity_matrices": {
                str(layer): values.raw.tolist() for layer, values in self._by_layer().items()
            },
            "outlier_dimensions": {
                str(layer): outlier_data(values.left_out) for layer, values in self._by_layer().items()
            },
        }

    def _by_layer(self) -> dict[int, StateCosines]:
        return dict(zip(self.layers, self.cosines, strict=True))

    def notes(self) -> list[str]:
        """What was done to the states before they were compared."""
        return outlier_lines(
            {layer: values.left_out for layer, values in self._by_layer().items()}, self.centre
        )

    @property
    def names(self) -> tuple[str, ...]:
        """(N,) what tables call the prompts: their labels, or their numbers."""
        return self.labels or tuple(f"#{i}" for i in range(len(self.prompts)))

    def table(self, index: int) -> Table:
        """The cosines after a layer."""
        rows = [
            (Cell(name, prompt), *(Cell(float(value), shade=float(value)) for value in row))
            for name, prompt, row in zip(self.names, self.prompts, self.matrices[index], strict=True)
        ]
        columns = (Column("", width=13), *(Column(name, ".4f", width=9) for name in self.names))
        return Table(columns, rows, f"Layer {self.layers[index]}")

    def _layer(self, index: int) -> dict[str, Any]:
        means, verdict = self.clusters[index], self.verdict(index)
        control = None if self.measurements is None else self.measurements[index].controls[0]
        return {
            "within": means.within,
            "between": means.between,
            "separation": means.separation,
            "p": None if self.p is None else self.p[index],
            "gain_over_untrained": None
            if control is None
            else {"gain": control.gain, "low": control.low, "high": control.high},
            "distinguishes": self.distinguishes(index),
            "verdict": None if verdict is None else verdict_data(declared(CLAIM), verdict),
        }

    def _repr_html_(self) -> str:
        return "".join(self.table(index).html() for index in range(len(self.layers)))


def layer_similarity(
    subject: Subject,
    prompts: Sequence[str],
    labels: Sequence[str] | None,
    layers: Sequence[int],
    *,
    untrained: int = COUNT,
    keep_outliers: bool = False,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> LayerSimilarity:
    """Compare the states of prompts at their last token, and the groups that their labels make.

    Args:
        subject: the model.
        prompts: N texts, at least two.
        labels: (N,) the group of each, or None.
        layers: after which blocks.
        untrained: how many untrained models of the same architecture to compare with, and lesioned ones of each
            kind; 0 for none, and then no separation is claimed.
        keep_outliers: compare raw states: not centred, with all dimensions.
        seed: of the shuffles and intervals.
        check: called after each model.

    Raises:
        ValueError: fewer than two prompts, no layers, labels of another number, or 1 or 2 untrained models.
    """
    if len(prompts) < 2:
        raise ValueError("one prompt has nothing to be compared with; give at least two, as in 'one|two'")
    if labels is not None and len(labels) != len(prompts):
        raise ValueError(f"{len(labels)} labels for {len(prompts)} prompts; give one per prompt")
    if untrained in (1, 2):
        raise ValueError(f"{untrained} untrained models do not show their spread; give 0, or at least 3")
    of_subject = cosines(subject, prompts, layers, keep_outliers)
    matrices = np.stack([values.matrix for values in of_subject])
    check()
    groups = None if labels is None else np.asarray(labels, dtype=np.str_)
    p = None if groups is None or len(set(prompts)) < len(prompts) else _p(matrices, groups, seed)
    measurements = None
    if p is not None and groups is not None and untrained:
        control_matrices: dict[str, list[NDArray[np.float64]]] = {}
        for kind, models in faced(subject, control_models(subject, count=untrained)).items():
            for model in models:
                of_model = cosines(built(model), prompts, layers, keep_outliers)
                control_matrices.setdefault(kind, []).append(np.stack([values.matrix for values in of_model]))
                check()
        measurements = _measured(prompts, groups, matrices, control_matrices, p, layers, seed)
    return LayerSimilarity(
        tuple(prompts),
        None if labels is None else tuple(labels),
        tuple(layers),
        matrices,
        of_subject,
        centred_on(len(prompts), keep_outliers),
        tuple(Clusters({}, {}, None) if groups is None else clusters(matrix, groups) for matrix in matrices),
        p,
        measurements,
        None if groups is None else _least_p(groups),
        untrained,
    )


def cosines(
    subject: Subject, prompts: Sequence[str], layers: Sequence[int], keep_outliers: bool = False
) -> tuple[StateCosines, ...]:
    """(L,) cosines between the states of prompts at their last token, after each of some blocks."""
    sites = [resid_post(layer) for layer in layers]
    by_site = compared(subject, prompts, sites, keep_outliers=keep_outliers)
    return tuple(by_site[site] for site in sites)


def _p(matrices: NDArray[np.float64], groups: NDArray[np.str_], seed: int) -> tuple[float, ...] | None:
    """The p of each layer's separation; None where a label has one prompt, or there is one label only."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.min() < 2:
        return None
    shuffled = group_permutations(codes, np.arange(len(codes)), np.random.default_rng(seed), DRAWS)
    observed, *null = (separation(matrices, labels).mean(axis=1) for labels in (codes, *shuffled))
    return tuple(max_statistic_p(observed, np.stack(null)).tolist())


def _least_p(groups: NDArray[np.str_]) -> float:
    """One over the number of ways to deal labels that lead to different groups."""
    _, sizes = np.unique(groups, return_counts=True)
    alike = prod(factorial(int((sizes == size).sum())) for size in np.unique(sizes))
    return float(alike * prod(factorial(int(size)) for size in sizes)) / float(factorial(int(sizes.sum())))


def _measured(
    prompts: Sequence[str],
    groups: NDArray[np.str_],
    matrices: NDArray[np.float64],
    control_matrices: Mapping[str, Sequence[NDArray[np.float64]]],
    p: Sequence[float],
    layers: Sequence[int],
    seed: int,
) -> tuple[Measurement, ...]:
    """Each layer's separation over that of untrained and lesioned models, at a level for all layers together."""
    level = 1 - declared(CLAIM).alpha / len(matrices)
    of_prompts = np.clip(separation(matrices, groups), -2, 2)
    of_models = {
        kind: np.array([separation(model, groups).mean(axis=1) for model in models])
        for kind, models in control_matrices.items()
    }
    measurements = []
    for index, (layer, values) in enumerate(zip(layers, of_prompts, strict=True)):
        score = float(values.mean())
        interval = paired_interval(values, np.asarray(prompts), level=level, seed=seed, bound=2)
        measurements.append(
            Measurement(
                score,
                min(interval.low, score),
                max(interval.high, score),
                n=len(prompts),
                groups=len(prompts),
                unit="cosine within a group minus across",
                controls=tuple(
                    over_others(kind, score, interval, scores[:, index].tolist())
                    for kind, scores in of_models.items()
                ),
                p=p[index],
                seed=seed,
                details={"layer": layer},
                floor=-2.0,
                ceiling=2.0,
            )
        )
    return tuple(measurements)
