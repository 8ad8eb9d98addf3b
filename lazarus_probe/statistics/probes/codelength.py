"""How many bits it takes to send the labels to someone who has the features: the effort behind a probe's accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints
from lazarus_probe.statistics.folds import check_split, encode
from lazarus_probe.statistics.probes.linear import as_features, in_span, standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic

# Inverse penalties, one of which serves for a whole code.
STRENGTHS = (0.01, 0.1, 1.0)
# Where fits stop: early, as any prediction makes a code.
TOLERANCE = 1e-2
# Shares of the groups that have been sent when the probe is fitted anew.
STEPS = (0.0625, 0.125, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Codelength:
    """What the labels cost.

    Attributes:
        bits: with the probe.
        uniform: with nothing, `N * log2(classes)`.
    """

    bits: float
    uniform: float

    @property
    def compression(self) -> float:
        """How many times shorter the code is than the uniform one; about 1 where nothing is read."""
        return self.uniform / self.bits


def codelength(features: ArrayLike, labels: ArrayLike, groups: ArrayLike | None, seed: int = 0) -> Codelength:
    """The online code of Voita & Titov (2020): each block of labels is sent with the probe fitted on those before.

    Blocks are of whole groups, in random order, cut where a sixteenth, an eighth, a quarter and half of the groups
    have been sent, so nothing is paid for what a group gives away of itself. The first block is sent uniformly. The
    inverse penalty is one of `STRENGTHS` for the whole code, the one with the shortest, and saying which costs
    `log2(3)` bits. After m rows each class gets `1 / (m + classes)` in addition to the probe's probability: a class
    not met yet must remain possible.

    A probe that reads what is stated plainly pays little; one that must be taught it row by row pays for the rows. It
    is for classes only: a density has a code length only up to its unit.

    Args:
        features: (N, D) activations or counts.
        labels: (N,) classes.
        groups: (N,) the group of each row.
        seed: of the order of the groups.

    Raises:
        ValueError: as `grouped_folds`, or features that are not a finite (N, D) array.
    """
    codes, index = check_split(labels, groups, "classification")
    features = as_features(features, len(codes))
    classes, blocks = int(codes.max()) + 1, _blocks(index, seed)
    bits = np.zeros(len(STRENGTHS))
    for before, block in zip(np.cumsum([len(rows) for rows in blocks]), blocks[1:], strict=False):
        sent = np.concatenate(blocks)[:before]
        for i, probabilities in enumerate(_probabilities(features, codes, sent, block, classes)):
            mixed = (before * probabilities[np.arange(len(block)), codes[block]] + 1) / (before + classes)
            bits[i] -= float(np.log2(mixed).sum())
    first = len(blocks[0]) * log2(classes)
    return Codelength(first + float(bits.min()) + log2(len(STRENGTHS)), len(codes) * log2(classes))


def _blocks(index: Ints, seed: int) -> list[Ints]:
    """Row numbers of each block of groups."""
    order = np.random.default_rng(seed).permutation(index.max() + 1)
    ends = np.unique([max(1, round(share * len(order))) for share in STEPS])
    rank = np.argsort(order)[index]
    starts = [0, *ends[:-1]]
    return [np.flatnonzero((start <= rank) & (rank < end)) for start, end in zip(starts, ends, strict=True)]


def _probabilities(
    features: Floats, codes: Ints, sent: Ints, block: Ints, classes: int
) -> list[NDArray[Any]]:
    """What the probe fitted on the rows sent gives each class of each row of the block, at each strength."""
    met, taught = encode(codes[sent])
    if len(met) == 1:
        return [np.eye(classes)[np.full(len(block), met[0])]] * len(STRENGTHS)
    seen, unseen = in_span(*standardise(features[sent], features[block]))
    probabilities = np.zeros((len(STRENGTHS), len(block), classes))
    for i, strength in enumerate(STRENGTHS):
        probabilities[i][:, met] = fit_logistic(seen, taught, strength, tolerance=TOLERANCE).probabilities(
            unseen
        )
    return list(probabilities)
