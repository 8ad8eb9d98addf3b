"""Are the directions along which a number is read those of its operation, or one for all?

Two directions that are mostly noise are orthogonal, whatever they are of. So each is taken on several disjoint samples,
and the directions of one operation must agree between samples where those of different operations do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.measurement import Control, Example, Grid, Measurement, some_examples
from lazarus_probe.statistics.model_spread import one_more
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import ControlModels, checked_models

if TYPE_CHECKING:
    from lazarus_probe.subject.control_models import ControlModel
    from lazarus_probe.subject.subject import Subject

RIDGE = 0.1


@dataclass(frozen=True)
class Samples:
    """Prompts of one operation, with the number to be read, in disjoint samples.

    Attributes:
        prompts: (N,) texts.
        numbers: (N,).
        samples: (N,) the sample of each, from 0; two make a round.
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
    wanted = np.asarray(numbers, dtype=np.float64) - np.mean(numbers)
    if not wanted.any():
        raise ValueError(f"the {len(wanted)} numbers are all equal: no direction reads them")
    kernel = rows @ rows.T
    kernel[np.diag_indices(len(rows))] += RIDGE * max(float(np.trace(kernel)) / len(rows), 1e-12)
    direction = rows.T @ np.linalg.solve(kernel, wanted)
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-12))


def directions(
    subject: Subject,
    untrained: ControlModels,
    asked: Mapping[str, Samples],
    site: Site,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """The mean |cosine| between the readout directions of different operations, taken on disjoint samples.

    For an absence. The unit is the round, of two samples. Controls: `same_operation`, |cosine| between the two samples
    of one operation; `random_targets`, how much that exceeds the same for shuffled numbers; `untrained`, |cosine|
    between different operations in untrained models.

    Args:
        subject: the model.
        untrained: at least three untrained models of the same architecture.
        asked: by operation, its samples; each has the same ones.
        site: where they are read, at the last position.
        store: activations shared with other claims.
        seed: of shuffles and intervals.

    Raises:
        ValueError: as `readout_direction`, or an odd number of samples.
    """
    store = ActivationStore() if store is None else store
    rng = np.random.default_rng(seed)
    ours = _taken(store, subject, asked, site, None)
    models = checked_models(subject, untrained)
    theirs = np.stack([_between(_taken(store, model, asked, site, None)) for model in models])
    shuffled = _taken(store, subject, asked, site, rng)
    apart = _between(ours)
    same, by_chance = _within(ours), _within(shuffled)
    rounds = np.arange(len(apart))
    interval = paired_interval(apart, rounds, seed=seed)
    chance = paired_interval(same - by_chance, rounds, seed=seed)
    random = Control(
        "random_targets", float(by_chance.mean()), float((same - by_chance).mean()), chance.low, chance.high
    )
    texts = [text for each in asked.values() for text in each.prompts]
    return Measurement(
        score=float(apart.mean()),
        low=max(interval.low, 0.0),
        high=interval.high,
        n=len(texts),
        groups=len(rounds),
        unit="cosine between operations",
        controls=(
            paired_control("same_operation", apart, same, rounds, seed, positive=True),
            random,
            one_more(
                paired_control("untrained", apart, theirs.mean(axis=0), rounds, seed, positive=True),
                theirs.mean(axis=1).tolist(),
            ),
        ),
        seed=seed,
        details={"site": str(site), "samples": 2 * len(rounds)},
        tokens=sum(map(len, encode_all(subject, texts))),
        examples=_examples(store, subject, asked, site, ours),
        grids=(_grid(ours, list(asked)),),
    )


def _taken(
    store: ActivationStore,
    model: ControlModel | Subject,
    asked: Mapping[str, Samples],
    site: Site,
    rng: np.random.Generator | None,
) -> NDArray[np.float64]:
    """(operations, samples, D) directions; of shuffled numbers where there is a generator."""
    found = []
    for each in asked.values():
        features = store.get(model, each.prompts, [site])[site]
        numbers, samples = np.asarray(each.numbers, float), np.asarray(each.samples)
        count = int(samples.max()) + 1
        if count % 2:
            raise ValueError(f"{count} samples: give an even number, two make a round")
        of_each = []
        for sample in range(count):
            rows = samples == sample
            wanted = numbers[rows] if rng is None else rng.permutation(numbers[rows])
            of_each.append(readout_direction(features[rows], wanted))
        found.append(np.stack(of_each))
    return np.stack(found)


def _examples(
    store: ActivationStore,
    subject: Subject,
    asked: Mapping[str, Samples],
    site: Site,
    taken: NDArray[np.float64],
) -> tuple[Example, ...]:
    """Prompts of the last sample, read along the direction of the sample before; counted where on the right side."""
    prompts, numbers, said, right = [], [], [], []
    for each, of_operation in zip(asked.values(), taken, strict=True):
        rows = np.flatnonzero(np.asarray(each.samples) == len(of_operation) - 1)
        along = store.get(subject, each.prompts, [site])[site][rows] @ of_operation[-2]
        wanted = np.asarray(each.numbers, float)[rows]
        high = along > np.median(along)
        prompts += [each.prompts[row] for row in rows.tolist()]
        numbers += [f"{number:g}" for number in wanted]
        said += ["above the median" if is_high else "below the median" for is_high in high]
        right += (high == (wanted > np.median(wanted))).tolist()
    return some_examples(prompts, numbers, said, right)


def _between(taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rounds,) mean |cosine| between different operations, of the two samples of a round."""
    first, second = taken[:, ::2], taken[:, 1::2]
    cosines = [
        np.abs((one[i] * two[j]).sum(axis=-1))
        for i, j in combinations(range(len(taken)), 2)
        for one, two in ((first, second), (second, first))
    ]
    return np.asarray(np.mean(cosines, axis=0))


def _within(taken: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rounds,) mean |cosine| between the two samples of one operation."""
    return np.asarray(np.abs((taken[:, ::2] * taken[:, 1::2]).sum(axis=-1)).mean(axis=0))


def _grid(taken: NDArray[np.float64], names: list[str]) -> Grid:
    cosines = np.abs(np.einsum("ard,brd->rab", taken[:, ::2], taken[:, 1::2])).mean(axis=0)
    return Grid("|cosine| between samples", tuple(names), tuple(names), tuple(map(tuple, cosines.tolist())))
