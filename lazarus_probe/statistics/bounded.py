"""Confidence intervals of bounded means from few groups, for any distribution on the range.

The interval of Gaffke (2005) and of Learned-Miller & Thomas (2019, arXiv:1905.06208): each observed unit is given a
random weight, one unit that was not observed is given a weight as well, and that unit has the worst value there can
be. On zeros and ones it is the exact binomial interval (Clopper & Pearson 1934), for many units it is as wide as
Student's, and in between it assumes nothing of the distribution but its range. Its coverage is conjectured for all
distributions, proved for some (Phan, Thomas & Learned-Miller 2021, arXiv:2106.03163), and simulated here in
`tests/calibration/test_coverage.py`. Student's interval and the bootstrap have no such unit: five values near 0 leave
them no spread, and a fifth of the runs that differ is called an absence every third time.

Where rows come in units of several kinds, such as phrasings and operand families, each kind has weights of its own and
a row's weight is their product (the pigeonhole bootstrap: Owen 2007, doi:10.1214/07-AOAS122).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints, as_names, as_values, index_clusters
from lazarus_probe.statistics.intervals import Interval, checked_level

Units = ArrayLike | Mapping[str, ArrayLike]

# Draws of the weights: at 4,000 the tail of 2.5% rests on 100 of them, so that its share is known to a quarter of a
# percent.
DRAWS = 4000
# Weights of rows that are held at once, to bound memory.
BLOCK = 8_000_000


def bounded_mean_interval(
    values: ArrayLike,
    units: Units,
    low: float,
    high: float,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The interval of the mean row, where every row lies in `low` to `high` and whole units are drawn at random.

    It holds for any distribution of rows, and of the units' sizes where these have nothing to do with the rows.
    Where large units differ from small ones and are rare, what a large one would add is not known from units that are
    all small: where a tenth have 6 rows and the others 1, intervals of ten units held the mean in about .7 of draws,
    and of forty in .95 (`tests/statistics/test_bounded.py`). Give units equally many rows, or take each one's mean as
    its row.

    Args:
        values: (N,) numbers.
        units: (N,) the independent unit of each row; or several kinds of them by name, as in
            `{"phrasing": ..., "family": ...}`, over all of which the mean then generalises.
        low: the least value a row can have.
        high: the largest.
        level: the coverage, each end missing at most half of the rest.
        draws: of the weights.
        seed: of the weights.

    Raises:
        ValueError: values beyond the range or not finite, shapes that do not match, or fewer than two units of a kind.
    """
    rows = as_values(values)
    check_range(rows, low, high)
    weighted, unseen = weighted_sums(np.stack([rows, np.ones(len(rows))], axis=1), units, draws, seed)
    tail, mean = (1 - checked_level(level)) / 2, float(rows.mean())
    ends = [(weighted[:, 0] + unseen * worst) / (weighted[:, 1] + unseen) for worst in (low, high)]
    # A quantile of the draws may fall on the inside of the mean by rounding where all rows are equal.
    return Interval(
        min(order_statistic(ends[0], tail), mean), max(order_statistic(ends[1], 1 - tail), mean), level
    )


def weighted_sums(columns: Floats, units: Units, draws: int = DRAWS, seed: int = 0) -> tuple[Floats, Floats]:
    """The sums of columns (N, K) under random weights of the units, and the weight of what was not seen.

    Returns:
        (draws, K) sums, and (draws,) the weight of an unseen unit in rows, to be multiplied by what a row of it adds.

    Raises:
        ValueError: shapes that do not match, or fewer than two units of a kind.
    """
    indices = coarsest(
        [
            index_clusters(
                names, len(columns), name=f"units[{kind!r}]" if isinstance(units, Mapping) else "clusters"
            )
            for kind, names in kinds_of(units).items()
        ]
    )
    weights = [unit_weights(count, draws, seed + kind) for kind, (_, count) in enumerate(indices)]
    sizes = [_size_of_a_unit(index, count) for index, count in indices]
    if len(indices) == 1:
        (index, count), weight = indices[0], weights[0]
        sums = np.zeros((count, columns.shape[1]))
        np.add.at(sums, index, columns)
        return weight[:, :-1] @ sums, weight[:, -1] * sizes[0]
    sums, unseen = np.empty((draws, columns.shape[1])), np.zeros(draws)
    for block in np.array_split(np.arange(draws), 1 + draws * len(columns) // BLOCK):
        by_kind = [weight[block][:, index] for weight, (index, _) in zip(weights, indices, strict=True)]
        sums[block] = np.prod(by_kind, axis=0) @ columns
        # An unseen unit of one kind has rows of the seen units of the others, at their usual weight.
        usual = [rows.mean(axis=1) for rows in by_kind]
        for kind, (weight, size) in enumerate(zip(weights, sizes, strict=True)):
            rest = usual[:kind] + usual[kind + 1 :]
            unseen[block] += weight[block, -1] * size * np.prod(rest, axis=0)
    return sums, unseen


def coarsest(kinds: Sequence[tuple[Ints, int]]) -> list[tuple[Ints, int]]:
    """Of several kinds of units, each the unit of every row (N,) and how many there are, those in no other kind.

    Where all rows of a unit lie in one unit of another kind, as those of a wording that asks about one family, rows
    that depend on each other do so within the latter; weights of the former as well would count that twice, and treble
    the variance of rows that are all independent (Owen 2007, section 3).
    """
    coarse: list[tuple[Ints, int]] = []
    for number, (index, count) in enumerate(kinds):
        later = kinds[number + 1 :]
        if not any(_within(index, count, other) for other, _ in [*coarse, *later]):
            coarse.append((index, count))
    return coarse


def _within(index: Ints, count: int, other: Ints) -> bool:
    """Whether every unit of one kind has rows of a single unit of another."""
    first = np.zeros(count, dtype=np.intp)
    first[index] = other
    return bool((first[index] == other).all())


def kinds_of(units: Units) -> dict[str, NDArray[np.generic]]:
    """The kinds of units by name; one kind without a name is called `unit`.

    Raises:
        ValueError: no kind of unit.
    """
    if not isinstance(units, Mapping):
        return {"unit": as_names(units)}
    if not units:
        raise ValueError("units is empty: name at least one kind, as in {'family': families}")
    return {str(name): as_names(names) for name, names in units.items()}


def count_units(units: Units) -> dict[str, int]:
    """How many units of each kind there are."""
    return {name: len(np.unique(names)) for name, names in kinds_of(units).items()}


def take_units(units: Units, rows: NDArray[np.intp]) -> Units:
    """The units of some rows, by row number."""
    if isinstance(units, Mapping):
        return {name: as_names(names)[rows] for name, names in units.items()}
    return as_names(units)[rows]


def fewest_units(units: Units) -> int:
    """The number of units of the kind with the fewest: what an interval really rests on."""
    return min(count_units(units).values())


def check_range(rows: Floats, low: float, high: float) -> None:
    """Refuse rows beyond the range that an interval is made for.

    Raises:
        ValueError: names the value and the range.
    """
    if not low < high:
        raise ValueError(f"the range is {low:g} to {high:g}: give a lowest value below the highest")
    for value in (float(rows.min()), float(rows.max())):
        if not low - 1e-9 <= value <= high + 1e-9:
            raise ValueError(
                f"a value of {value:g} lies outside {low:g} to {high:g}: give the range there can be"
            )


@lru_cache(maxsize=4)
def unit_weights(count: int, draws: int, seed: int) -> Floats:
    """(draws, count + 1) exponential weights of units seen and of one unseen, shared by a score and its controls."""
    return np.random.default_rng([seed, count]).standard_exponential((draws, count + 1))


def _size_of_a_unit(index: Ints, count: int) -> float:
    """The rows of the unit that a row drawn at random is in: what an unseen one is taken to have."""
    sizes = np.bincount(index, minlength=count).astype(np.float64)
    return float((sizes**2).sum() / sizes.sum())


def order_statistic(draws: Floats, share: float) -> float:
    """The order statistic on the cautious side."""
    return float(np.quantile(draws, share, method="lower" if share < 0.5 else "higher"))
