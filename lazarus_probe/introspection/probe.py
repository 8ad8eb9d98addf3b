"""Is something linearly readable at a site, beyond what needs no model? A probe with its controls.

The score is of prompts whose group the probe has not met. Beside it stand, on the same splits: the majority class or
the mean; the same probe on a bag of tokens; on the token embeddings; on the same site of an untrained model
(random-weight nulls: arXiv:2512.18792); and shuffled labels. What those reach too is no finding about the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics import (
    Kind,
    bag_of_tokens,
    cluster_bootstrap,
    majority_predictions,
    mean_predictions,
    out_of_fold_classification,
    out_of_fold_regression,
    paired_control,
    permutation_null,
    proportion_interval,
    r2,
)
from lazarus_probe.statistics.folds import check_split
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.subject.batches import Prompt, encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DRAWS = 1000
LEVEL = 0.95
KEPT = 64


@dataclass(frozen=True)
class Labelled:
    """Prompts with what is to be read from them.

    Attributes:
        prompts: (N,) texts, or token ids.
        labels: (N,) classes, or numbers for a regression.
        groups: (N,) what a split keeps together: template, operand family, token.
        clusters: (N,) the independent units that intervals rest on; the groups, unless said otherwise.
        at: which position is read, as in `collect`.
    """

    prompts: Sequence[Prompt]
    labels: Any
    groups: Any
    clusters: Any = None
    at: Any = "last"

    def __post_init__(self) -> None:
        for name in ("labels", "groups", "clusters"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name)))

    @property
    def units(self) -> NDArray[Any]:
        """The clusters, or the groups where none are given."""
        return self.groups if self.clusters is None else self.clusters


def decode(
    subject: Subject,
    twin: Subject,
    labelled: Labelled,
    site: Site,
    *,
    kind: Kind = "classification",
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """Probe one site of a model, with its controls.

    They are `majority` (or `mean`), `bag_of_tokens`, `untrained`, `shuffled_labels` and, above the embedding,
    `token_embeddings`.

    Args:
        subject: the model.
        twin: an untrained model of the same architecture.
        labelled: prompts, labels and groups.
        site: where to read.
        kind: `classification` scores accuracy, `regression` R2 against the mean of the training side.
        store: activations shared with other claims.
        seed: of folds, shuffles and intervals.

    Raises:
        ValueError: no prompts, no groups, or labels that no grouped split can be made of.
    """
    if not len(labelled.prompts):
        raise ValueError("no prompts to probe; give at least two groups of them")
    check_split(labelled.labels, labelled.groups, kind)
    store = ActivationStore() if store is None else store
    features = _features(store, subject, labelled, site)
    known = {
        "bag_of_tokens": bag_of_tokens(encode_all(subject, labelled.prompts)),
        "untrained": _features(store, twin, labelled, site),
    }
    if site.kind != "embed":
        known["token_embeddings"] = _features(store, subject, labelled, Site("embed"))
    score = _score_classes if kind == "classification" else _score_numbers
    with threadpool_limits(limits=1, user_api="blas"):  # many small fits: a second thread only waits
        return score(features, known, labelled, seed, {"site": str(site)})


@dataclass(frozen=True)
class _Problem:
    """A probe to fit, known by its content: layers of one claim share their controls, and each is fitted once."""

    digest: bytes
    kind: Kind
    seed: int
    features: NDArray[Any] = field(compare=False)
    labels: NDArray[Any] = field(compare=False)
    groups: NDArray[Any] = field(compare=False)

    @classmethod
    def of(
        cls, features: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any], kind: Kind, seed: int
    ) -> _Problem:
        digest = hashlib.sha256()
        for array in (features, labels, groups):
            digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return cls(digest.digest(), kind, seed, features, labels, groups)


@lru_cache(maxsize=KEPT)
def _predictions(problem: _Problem) -> NDArray[Any]:
    fit = out_of_fold_classification if problem.kind == "classification" else out_of_fold_regression
    return fit(problem.features, problem.labels, problem.groups, seed=problem.seed)


def _features(store: ActivationStore, subject: Subject, labelled: Labelled, site: Site) -> NDArray[Any]:
    values = store.get(subject, labelled.prompts, [site], at=labelled.at)[site]
    return values.reshape(len(labelled.prompts), -1)


def _score_classes(
    features: NDArray[Any],
    known: Mapping[str, NDArray[Any]],
    labelled: Labelled,
    seed: int,
    details: Mapping[str, Any],
) -> Measurement:
    labels, groups, units = labelled.labels, labelled.groups, labelled.units

    def correct(values: NDArray[Any]) -> NDArray[Any]:
        return _predictions(_Problem.of(values, labels, groups, "classification", seed)) == labels

    right = correct(features)
    others = {"majority": majority_predictions(labels) == labels}
    others |= {name: correct(values) for name, values in known.items()}
    test = permutation_null(features, labels, groups, DRAWS, seed)
    controls = [paired_control(name, right, other, units, seed) for name, other in others.items()]
    interval = proportion_interval(right, units, LEVEL, seed=seed)
    return Measurement(
        score=float(right.mean()),
        low=interval.low,
        high=interval.high,
        n=len(labels),
        groups=len(np.unique(units)),
        unit="held-out accuracy",
        controls=(*controls, _shuffled(test.observed, test.null)),
        p=test.p,
        seed=seed,
        details={**details, "classes": len(np.unique(labels)), "permutations": DRAWS},
    )


def _score_numbers(
    features: NDArray[Any],
    known: Mapping[str, NDArray[Any]],
    labelled: Labelled,
    seed: int,
    details: Mapping[str, Any],
) -> Measurement:
    targets, groups, units = labelled.labels.astype(float), labelled.groups, labelled.units
    means = mean_predictions(targets, groups, seed=seed)

    def predicted(values: NDArray[Any]) -> NDArray[Any]:
        return _predictions(_Problem.of(values, targets, groups, "regression", seed))

    guesses = predicted(features)

    def gain_over(other: NDArray[Any]) -> Callable[[NDArray[Any]], float]:
        return lambda rows: _r2(targets, guesses, means, rows) - _r2(targets, other, means, rows)

    everything = np.arange(len(targets))
    controls = [_over(name, gain_over, targets, other, means, units, seed) for name, other in (
        ("mean", means),
        *((name, predicted(values)) for name, values in known.items()),
    )]  # fmt: skip
    interval = cluster_bootstrap(lambda rows: _r2(targets, guesses, means, rows), units, LEVEL, DRAWS, seed)
    test = permutation_null(features, targets, groups, DRAWS, seed, "regression")
    return Measurement(
        score=_r2(targets, guesses, means, everything),
        low=interval.low,
        high=interval.high,
        n=len(targets),
        groups=len(np.unique(units)),
        unit="held-out R2",
        controls=(*controls, _shuffled(test.observed, test.null)),
        p=test.p,
        seed=seed,
        details={**details, "permutations": DRAWS},
    )


def _over(
    name: str,
    gain_over: Callable[[NDArray[Any]], Callable[[NDArray[Any]], float]],
    targets: NDArray[Any],
    other: NDArray[Any],
    means: NDArray[Any],
    units: NDArray[Any],
    seed: int,
) -> Control:
    everything = np.arange(len(targets))
    interval = cluster_bootstrap(gain_over(other), units, LEVEL, DRAWS, seed)
    score = _r2(targets, other, means, everything)
    return Control(name, score, gain_over(other)(everything), interval.low, interval.high)


def _r2(targets: NDArray[Any], guesses: NDArray[Any], means: NDArray[Any], rows: NDArray[Any]) -> float:
    return r2(targets[rows], guesses[rows], means[rows])


def _shuffled(observed: float, null: NDArray[Any]) -> Control:
    """Shuffled labels under the permutation test's own ridge probe; the interval is the null's, seen from the score."""
    low, high = np.quantile(null, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    mean = float(null.mean())
    return Control("shuffled_labels", mean, observed - mean, observed - float(high), observed - float(low))
