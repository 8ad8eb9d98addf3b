"""The cells of a sweep, and which of them have to be computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.sites import Site

Position = int | str
Positions = Literal["each", "last", "all"] | Sequence[int]
ALL, NOWHERE = -1, -2


class Cell(NamedTuple):
    """One site at one position: an integer, "last" or "all".

    Example:
        >>> from lazarus_probe.sweep import Cell, Zero, kl, sweep
        >>> cells = [Cell("mlp_out.3", "last"), Cell("head_out.2.1", 0)]
        >>> result = sweep(subject, ["7*8="], cells=cells, sources={"zero": Zero()}, metrics=[kl()])
        >>> np.isfinite(result.values["kl"]).sum().item()
        2
    """

    site: Site | str
    position: Position


@dataclass(frozen=True)
class Grid:
    """The sites and positions of a sweep.

    Attributes:
        sites: counted from 0, without repeats.
        positions: labels of the position axis: integers (negative ones from each prompt's end), "last" or "all".
        wanted: (sites, positions) whether a cell is to be computed.
    """

    sites: tuple[Site, ...]
    positions: tuple[Position, ...]
    wanted: NDArray[np.bool_]

    def at(self, length: int) -> NDArray[np.intp]:
        """(positions,) where each lies in a prompt of `length` tokens; ALL for "all", NOWHERE where it has none."""
        return np.array([_index(position, length) for position in self.positions], dtype=np.intp)


@dataclass(frozen=True, eq=False)
class Jobs:
    """Rows to compute, one for each cell of each prompt; all arrays are (R,).

    Attributes:
        prompt: which prompt of the batch.
        source: which source.
        site: which site of the grid; -1 for an unpatched row.
        column: which position of the grid.
        at: that position in the prompt, or ALL.
        taken: that position in the source's prompt, which may have another length; or ALL.
        start: the first position that can differ from the unpatched run.
        entry: the block whose input is the first thing to differ; the number of layers for what leaves the last.
    """

    prompt: NDArray[np.intp]
    source: NDArray[np.intp]
    site: NDArray[np.intp]
    column: NDArray[np.intp]
    at: NDArray[np.intp]
    taken: NDArray[np.intp]
    start: NDArray[np.intp]
    entry: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.prompt)

    def chosen(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Jobs:
        """Some of the rows, in the requested order."""
        return Jobs(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def unpatched(cls, prompts: NDArray[np.intp], layers: int, length: int) -> Jobs:
        """Rows without an intervention."""
        none, last = np.full_like(prompts, -1), np.full_like(prompts, length - 1)
        return cls(prompts, none, none, none, last, last, last, np.full_like(prompts, layers))

    @classmethod
    def joined(cls, parts: Sequence[Jobs]) -> Jobs:
        """Rows of several, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def make_grid(
    anatomy: Anatomy,
    sites: Sequence[Site | str],
    positions: Positions,
    cells: Sequence[tuple[Site | str, Position]] | None,
    lengths: Sequence[int],
) -> Grid:
    """The grid of all sites at all positions, or of the cells named.

    Raises:
        ValueError: no sites, positions or cells, an unknown position, or a repeated one.
        IndexError: a layer or head that the model does not have, or a position that no prompt has.
    """
    if cells is not None:
        return _of_cells(anatomy, cells, lengths)
    if isinstance(sites, str | Site):
        raise TypeError(f"sites is one site, {sites}; give a list of sites")
    if not sites:
        raise ValueError("no sites to sweep; give at least one, such as 'resid_post.0'")
    resolved = tuple(dict.fromkeys(resolve(site, anatomy) for site in sites))
    labels = _labels(positions, lengths)
    return Grid(resolved, labels, np.ones((len(resolved), len(labels)), dtype=bool))


def _of_cells(anatomy: Anatomy, cells: Sequence[tuple[Site | str, Position]], lengths: Sequence[int]) -> Grid:
    if not cells:
        raise ValueError("cells is empty; give at least one (site, position)")
    pairs = [(resolve(site, anatomy), position) for site, position in cells]
    sites = tuple(dict.fromkeys(site for site, _ in pairs))
    labels = tuple(dict.fromkeys(position for _, position in pairs))
    for label in labels:
        _check(label, lengths)
    wanted = np.zeros((len(sites), len(labels)), dtype=bool)
    for site, position in pairs:
        wanted[sites.index(site), labels.index(position)] = True
    return Grid(sites, labels, wanted)


def _labels(positions: Positions, lengths: Sequence[int]) -> tuple[Position, ...]:
    if isinstance(positions, str):
        if positions not in ("each", "last", "all"):
            raise ValueError(f"positions {positions!r} is unknown; give 'each', 'last', 'all' or integers")
        return tuple(range(max(lengths))) if positions == "each" else (positions,)
    labels = tuple(int(position) for position in positions)
    if not labels:
        raise ValueError("positions is empty; give 'each', 'last', 'all' or integers")
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"position {label} is given twice; give each once")
        _check(label, lengths)
    return labels


def _check(label: Position, lengths: Sequence[int]) -> None:
    if isinstance(label, str):
        if label not in ("last", "all"):
            raise ValueError(f"position {label!r} of a cell is unknown; give 'last', 'all' or an integer")
    elif not -max(lengths) <= label < max(lengths):
        raise IndexError(f"position {label} is out of range: the longest prompt has {max(lengths)} tokens")


def _index(position: Position, length: int) -> int:
    if isinstance(position, str):
        return ALL if position == "all" else length - 1
    index = position + length if position < 0 else position
    return index if 0 <= index < length else NOWHERE


def make_jobs(
    grid: Grid,
    length: int,
    taken: NDArray[np.intp],
    differs: NDArray[np.intp],
    entries: Sequence[int],
    ends: NDArray[np.bool_],
) -> tuple[Jobs, Jobs]:
    """The rows of a batch of prompts of equal length: those to compute, and those that equal the unpatched run.

    Args:
        grid: the cells.
        length: T of every prompt.
        taken: (B, sources, positions) where each position lies in the source's prompt; ALL for "all", NOWHERE where it
            has none.
        differs: (B, sources) the first position where a source can differ from the target; T for nowhere.
        entries: for each site the block whose input is the first thing that it changes.
        ends: (sites,) whether a site can act on the last position's logits only from the last position.
    """
    B, S = differs.shape  # noqa: N806
    positions = grid.at(length)
    site, column = np.nonzero(grid.wanted & (positions != NOWHERE)[None])
    prompt, source, cell = (index.reshape(-1) for index in np.indices((B, S, len(site))))
    site, column = site[cell], column[cell]
    at, taken = positions[column], taken[prompt, source, column]
    first = differs[prompt, source]
    start = np.where(at == ALL, first, np.maximum(at, 0))
    idle = (first > np.where(at == ALL, length - 1, at)) | (ends[site] & (at != ALL) & (at < length - 1))
    jobs = Jobs(prompt, source, site, column, at, taken, start, np.asarray(entries, dtype=np.intp)[site])
    return jobs.chosen(~idle & (taken != NOWHERE)), jobs.chosen(idle & (taken != NOWHERE))


def grouped(jobs: Jobs, length: int, tokens: int, rows: int) -> list[NDArray[np.intp]]:
    """Divide rows into batches that share a start, neighbours in position together.

    Args:
        jobs: the rows.
        length: T of the prompts.
        tokens: a batch is closed once it has so many; more would not make matrix products faster.
        rows: rows in a batch at most.
    """
    order = np.lexsort((jobs.column, jobs.prompt, jobs.entry, jobs.start))
    groups, begin = [], 0
    while begin < len(order):
        width = length - jobs.start[order[begin]]
        size = max(1, min(rows, -(-tokens // width)))
        groups.append(order[begin : begin + size])
        begin += size
    return [group[np.argsort(jobs.entry[group], kind="stable")] for group in groups]
