"""Does each operation have a readout direction of its own, or is there one for all?

Two noisy directions are orthogonal, whatever they read. So each is fitted on several disjoint samples, and the
directions of one operation must agree between samples where those of different operations do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.measurement import Control, Example, Grid, Measurement, some_examples
from lazarus_probe.statistics.model_spread import one_more
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import ControlModels, checked_models

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.control_models import ControlModel
    from lazarus_probe.subject.subject import Subject

RIDGE = 0.1


@dataclass(frozen=True)
class Samples:
    """Prompts of one operation, with the number to read, in disjoint samples.

    Attributes:
        prompts: (N,) texts.
        numbers: (N,).
        samples: (N,) sample numbers, from 0; two make a round.
    """

    prompts: Sequence[str]
    numbers: Sequence[float]
    samples: Sequence[int]


def readout_direction(features: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.float64]:
    """(D,) the unit direction of a ridge readout of N numbers from (N, D) features, in its dual form.

    Raises:
        ValueError: numbers that are all equal.
    """
    rows = np.asarray(features, dtype=np.float64) - features.mean(axis=0)
    targets = np.asarray(numbers, dtype=np.float64) - np.mean(numbers)
    if not targets.any():
        raise ValueError(f"the {len(targets)} numbers are all equal: no direction reads them")
    kernel = rows @ rows.T
    kernel[np.diag_indices(len(rows))] += RIDGE * max(float(np.trace(kernel)) / len(rows), 1e-12)
    direction = rows.T @ np.linalg.solve(kernel, targets)
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-12))


def directions(
    subject: Subject,
    untrained: ControlModels,
    operations: Mapping[str, Samples],
    site: Site,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """The mean |cosine| between the readout directions of different operations, fitted on disjoint samples.

    For an absence. The unit is the round, of two samples. Controls: `same_operation`, |cosine| between the two samples
    of one operation; `random_targets`, how much that exceeds the same for shuffled numbers; `untrained`, |cosine|
    between different operations in untrained models.

    Args:
        subject: the model.
        untrained: at least three untrained models of the same architecture.
        operations: samples by operation, as many for each.
        site: where numbers are read, at the last position.
        store: activations shared with other claims.
        seed: of shuffles and intervals.
        claim: what the measurement is judged by; where its outcome is settled without the untrained models, they are
            not run, as in `probe`.

    Raises:
        ValueError: as `readout_direction`, or an odd number of samples.
    """
    store = ActivationStore() if store is None else store
    rng = np.random.default_rng(seed)
    fitted = _fitted(store, subject, operations, site, None)
    models = checked_models(subject, untrained)
    between = _between(fitted)
    within, shuffled = _within(fitted), _within(_fitted(store, subject, operations, site, rng))
    rounds = np.arange(len(between))
    interval = paired_interval(between, rounds, seed=seed)
    gain = paired_interval(within - shuffled, rounds, seed=seed)
    random = Control(
        "random_targets", float(shuffled.mean()), float((within - shuffled).mean()), gain.low, gain.high
    )
    same = paired_control("same_operation", between, within, rounds, seed, positive=True)
    texts = [text for samples in operations.values() for text in samples.prompts]
    kept: dict[str, Any] = {
        "seed": seed,
        "details": {"site": str(site), "samples": 2 * len(rounds)},
        "tokens": sum(map(len, encode_all(subject, texts))),
        "examples": _examples(store, subject, operations, site, fitted),
        "grids": (_grid(fitted, tuple(operations)),),
    }

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return Measurement(
            score=float(between.mean()),
            low=max(interval.low, 0.0),
            high=interval.high,
            n=len(texts),
            groups=len(rounds),
            unit="cosine between operations",
            controls=(same, random, *controls.values()),
            unmeasured=left_out,
            **kept,
        )

    def in_models() -> Control:
        of_models = np.stack([_between(_fitted(store, model, operations, site, None)) for model in models])
        gain = paired_control("untrained", between, of_models.mean(axis=0), rounds, seed, positive=True)
        return one_more(gain, of_models.mean(axis=1).tolist())

    return as_needed(claim, measure, {"untrained": in_models})


def _fitted(
    store: ActivationStore,
    model: ControlModel | Subject,
    operations: Mapping[str, Samples],
    site: Site,
    rng: np.random.Generator | None,
) -> NDArray[np.float64]:
    """(operations, samples, D) directions; with a generator, of shuffled numbers."""
    by_operation = []
    for samples in operations.values():
        features = store.get(model, samples.prompts, [site])[site]
        numbers, sample_of = np.asarray(samples.numbers, float), np.asarray(samples.samples)
        count = int(sample_of.max()) + 1
        if count % 2:
            raise ValueError(f"{count} samples: give an even number, two make a round")
        by_sample = []
        for sample in range(count):
            rows = sample_of == sample
            targets = numbers[rows] if rng is None else rng.permutation(numbers[rows])
            by_sample.append(readout_direction(features[rows], targets))
        by_operation.append(np.stack(by_sample))
    return np.stack(by_operation)


def _examples(
    store: ActivationStore,
    subject: Subject,
    operations: Mapping[str, Samples],
    site: Site,
    fitted: NDArray[np.float64],
) -> tuple[Example, ...]:
    """Prompts of the last sample, read along the direction of the sample before; right if on the same side."""
    prompts, numbers, sides, right = [], [], [], []
    for samples, directions in zip(operations.values(), fitted, strict=True):
        rows = np.flatnonzero(np.asarray(samples.samples) == len(directions) - 1)
        along = store.get(subject, samples.prompts, [site])[site][rows] @ directions[-2]
        targets = np.asarray(samples.numbers, float)[rows]
        high = along > np.median(along)
        prompts += [samples.prompts[row] for row in rows.tolist()]
        numbers += [f"{number:g}" for number in targets]
        sides += ["above the median" if is_high else "below the median" for is_high in high]
        right += (high == (targets > np.median(targets))).tolist()
    return some_examples(prompts, numbers, sides, right)


def _between(fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rounds,) mean |cosine| between different operations, of the two samples of a round."""
    first, second = fitted[:, ::2], fitted[:, 1::2]
    cosines = [
        np.abs((a[i] * b[j]).sum(axis=-1))
        for i, j in combinations(range(len(fitted)), 2)
        for a, b in ((first, second), (second, first))
    ]
    return np.asarray(np.mean(cosines, axis=0))


def _within(fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rounds,) mean |cosine| between the two samples of one operation."""
    return np.asarray(np.abs((fitted[:, ::2] * fitted[:, 1::2]).sum(axis=-1)).mean(axis=0))


def _grid(fitted: NDArray[np.float64], names: tuple[str, ...]) -> Grid:
    cosines = np.abs(np.einsum("ard,brd->rab", fitted[:, ::2], fitted[:, 1::2])).mean(axis=0)
    return Grid("|cosine| between samples", names, names, tuple(map(tuple, cosines.tolist())))
