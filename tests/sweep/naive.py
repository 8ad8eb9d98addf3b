"""The reference: one whole forward a cell through `hooked`, prompt by prompt, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.hooks import hooked, resolve, trace
from lazarus_probe.hooks.sites import position_axis
from lazarus_probe.hooks.trace import Trace
from lazarus_probe.interventions import Intervention
from lazarus_probe.sites import Site
from lazarus_probe.subject import Subject, forward, greedy
from lazarus_probe.sweep import Donors, Mean, Sweep, Zero
from lazarus_probe.sweep.metrics import Metric
from tests.tolerance import REACH, moved_by_rounding, of_logits

LOGITS = range(0, 60, 3)
# Of one forward of the reference: a tiny model's costs what its number of operations costs, whatever their size.
ROWS = 128
# Logits themselves as metrics: what any other metric is made of.
METRICS = tuple(Metric(f"logit {token}", lambda rows, _, __, at=token: rows[:, at]) for token in LOGITS)


def ids_of(subject: Subject, prompt: Any) -> list[int]:
    return subject.encode(prompt) if isinstance(prompt, str) else list(prompt)


def edit_of(
    subject: Subject,
    source: Any,
    number: int,
    site: Site,
    position: Any,
    length: int,
    sites: tuple[Site, ...] = (),
    blend: float = 1.0,
) -> Intervention:
    """The intervention of one cell on target `number`; a donor's values at `sites` come from one forward of it."""
    edit = _whole_edit_of(subject, source, number, site, position, length, sites)
    if blend == 1:
        return edit
    return Intervention(site, lambda old: blend * edit.edit(old) + (1 - blend) * old, edit.positions)


def _whole_edit_of(
    subject: Subject,
    source: Any,
    number: int,
    site: Site,
    position: Any,
    length: int,
    sites: tuple[Site, ...],
) -> Intervention:
    at = place(position, length)
    if isinstance(source, Donors):
        donor = source.prompts[number]
        taken = place(position, len(ids_of(subject, donor)))
        return _patch(subject, donor, site, at, taken, sites or (site,))
    value = 0.0 if isinstance(source, Zero) else source.values[site]

    def constant(old: mx.array) -> mx.array:
        return mx.broadcast_to(mx.array(value).astype(old.dtype), old.shape)

    return Intervention(site, constant, at)


def place(position: Any, length: int) -> Any:
    """Where a position lies in a prompt of `length` tokens; None where it has none, "all" for all of them."""
    at = {"all": "all", "last": length - 1}.get(position, position)
    if at == "all":
        return at
    return at % length if -length <= at < length else None


def _patch(
    subject: Subject, donor: Any, site: Site, at: Any, taken: Any, sites: tuple[Site, ...]
) -> Intervention:
    """Patch with the value that a donor has there; generated positions are left alone."""
    value = _donated(subject, tuple(ids_of(subject, donor)), sites)[site]
    if at == "all":
        return Intervention(site, lambda old: value if old.shape == value.shape else old)
    one = mx.take(value, mx.array([taken]), axis=position_axis(site))
    return Intervention(site, lambda _: one, at)


@lru_cache(maxsize=256)
def _donated(subject: Subject, ids: tuple[int, ...], sites: tuple[Site, ...]) -> Trace:
    return trace(subject, ids, capture=sites)


def logits(subject: Subject, prompt: Any, edit: Intervention | None = None) -> np.ndarray:
    """Logits (V,) at the last position of one whole forward."""
    return np.array(_logits(subject, prompt, edit))


def _logits(subject: Subject, prompt: Any, edit: Intervention | None) -> mx.array:
    tokens = mx.array([ids_of(subject, prompt)])
    with hooked(subject, interventions=[edit] if edit else []):
        return forward(subject.model, tokens)[0, -1]


def answer(
    subject: Subject, prompt: Any, edit: Intervention | None = None, tokens: int = 4, stop: Any = ()
) -> str:
    with hooked(subject, interventions=[edit] if edit else []):
        return greedy(subject, [prompt], tokens, stop)[0]


def sites_of(subject: Subject, *kinds: str, layers: Sequence[int] = ()) -> list[Site]:
    """Sites of some kinds at some layers, all of them by default."""
    layers = layers or range(subject.num_layers)
    return [resolve(f"{kind}.{layer}", subject.anatomy) for kind in kinds for layer in layers]


def worst(
    subject: Subject, result: Sweep, targets: Any, sources: dict[str, Any], blend: float = 1.0
) -> float:
    """The largest difference of a sweep of METRICS from the naive loop, in units of the cell's largest logit.

    The cells of a target are rows of a few forwards, as in `worst_by_site`; one of each target is run alone as well.
    """
    cells: list[tuple[Any, np.ndarray]] = []
    every = np.stack([result.values[metric.name] for metric in METRICS], axis=-1)
    for number, target in enumerate(targets):
        ids, edits, got = ids_of(subject, target), list[Intervention](), []
        for turn, site in enumerate(result.sites):
            for source, name in enumerate(result.sources):
                for column, position in enumerate(result.positions):
                    cell = every[number, source, turn, column]
                    lengths = [len(ids)]
                    if isinstance(sources[name], Donors):
                        lengths.append(len(ids_of(subject, sources[name].prompts[number])))
                    if None in (place(position, one) for one in lengths):
                        assert np.isnan(cell).all()
                        continue
                    got.append(cell)
                    edits.append(
                        edit_of(subject, sources[name], number, site, position, len(ids), result.sites, blend)
                    )
        for begin in range(0, len(edits), ROWS):
            some = edits[begin : begin + ROWS]
            wanted = _together(subject, [ids] * len(some), some)
            cells += zip(got[begin : begin + ROWS], wanted, strict=True)
        alone = np.array(_logits(subject, target, edits[number % len(edits)]))[list(LOGITS)]
        cells.append((got[number % len(edits)], alone))
    return _furthest(cells)


def worst_by_site(
    subject: Subject, results: list[Sweep], targets: Any, sources: dict[str, Any], *, alone: bool = True
) -> float:
    """The same where targets have one length, with forwards whose rows are the cells of many sites in all the sweeps.

    The rows of a batch are what each prompt gives alone, as `self_check` holds of every architecture; one cell
    of each site is run alone here as well, or of the first site only.
    """
    cells: list[tuple[Any, np.ndarray]] = []
    tokens, sites = [ids_of(subject, target) for target in targets], tuple(results[0].sites)
    every = [np.stack([one.values[metric.name] for metric in METRICS], axis=-1) for one in results]
    at = _cells(results, len(tokens))
    for turn, (edits, wanted) in enumerate(_by_site(subject, at, tokens, sources, sites)):
        got = [every[sweep][number, source, turn, place] for sweep, number, _, source, place, _ in at]
        cells += zip(got, wanted, strict=True)
        if alone or turn == 0:
            row = turn % len(at)
            one = np.array(_logits(subject, targets[at[row][1]], edits[row]))[list(LOGITS)]
            cells.append((got[row], one))
    return _furthest(cells)


def _cells(results: list[Sweep], targets: int) -> list[tuple[int, int, str, int, int, Any]]:
    """By cell of one site: sweep, target, source and its number, number of the position and the position."""
    return [
        (sweep, number, name, source, place, position)
        for sweep, one in enumerate(results)
        for number in range(targets)
        for source, name in enumerate(one.sources)
        for place, position in enumerate(one.positions)
    ]


def _by_site(
    subject: Subject, at: list[Any], tokens: list[list[int]], sources: dict[str, Any], sites: tuple[Site, ...]
) -> Iterator[tuple[list[Intervention], np.ndarray]]:
    """For each site the edits of all cells, and their logits; the cells of many sites are rows of one forward."""
    together = max(1, ROWS // len(at))
    ids = [tokens[number] for _, number, *_ in at]
    for begin in range(0, len(sites), together):
        some = sites[begin : begin + together]
        edits = [
            [
                edit_of(subject, sources[name], number, site, position, len(ids[0]), sites)
                for _, number, name, _, _, position in at
            ]
            for site in some
        ]
        wanted = _together(subject, ids * len(some), [edit for of_site in edits for edit in of_site])
        yield from zip(edits, wanted.reshape(len(some), len(at), -1), strict=True)


def _together(subject: Subject, tokens: list[list[int]], edits: list[Intervention]) -> np.ndarray:
    """The LOGITS at the last position of each row of one forward, every row with an edit of its own.

    Args:
        subject: the model.
        tokens: of each row, all of one length.
        edits: one a row, those of a site one after the other.
    """
    interventions, first = [], 0
    for site, group in groupby(edits, key=lambda edit: edit.site):
        of_site = list(group)
        interventions.append(_of_rows(site, of_site, first))
        first += len(of_site)
    with hooked(subject, interventions=interventions):
        wanted = forward(subject.model, mx.array(tokens))[:, -1].astype(mx.float32)
    return np.array(wanted)[:, list(LOGITS)]


def _of_rows(site: Site, edits: list[Intervention], first: int) -> Intervention:
    """One edit of a batch, each row from `first` on by an edit of its own."""
    axis = position_axis(site)

    def edit_rows(old: mx.array) -> mx.array:
        rows = [_edited(old[row : row + 1], one, axis) for row, one in enumerate(edits, first)]
        return mx.concatenate([old[:first], *rows, old[first + len(rows) :]])

    return Intervention(site, edit_rows)


def _edited(old: mx.array, edit: Intervention, axis: int) -> mx.array:
    if edit.positions == "all":
        return edit.edit(old)
    (at,) = edit.positions
    before, here, after = mx.split(old, [at, at + 1], axis=axis)
    return mx.concatenate([before, edit.edit(here), after], axis=axis)


def _furthest(cells: list[tuple[Any, Any]]) -> float:
    return float(np.max([0.0, *(_apart(got, np.array(wanted)) for got, wanted in cells)]))


def _apart(got: Any, wanted: Any) -> float:
    """The largest difference of a cell, NaN where one that exists was left out."""
    if not np.isfinite(wanted).all():  # zeroed streams of gemma3n: 0 / 0 in its own code
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
        return 0.0
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def tolerance(subject: Subject, targets: Any) -> float:
    """How far a sweep may lie from the naive loop, in the units of `worst`.

    That of the model's depth, and for a model that amplifies rounding, as some recurrences do, what is measured. What
    is measured on whole prompts alone would be too little: a patched cell amplifies more than they do.
    """

    def last() -> mx.array:
        return mx.stack([_logits(subject, target, None) for target in targets])

    return max(of_logits(subject, 1.0), REACH * moved_by_rounding(subject.model, last))


def tolerance_of_cells(
    subject: Subject, results: list[Sweep], targets: Any, sources: dict[str, Any]
) -> float:
    """The same, measured on the cells themselves: an edited forward may amplify a rounding more than a whole prompt.

    It takes three more naive loops, so it is asked for where `tolerance` is not enough.
    """
    tokens, sites = [ids_of(subject, target) for target in targets], tuple(results[0].sites)
    at = _cells(results, len(tokens))

    def every() -> mx.array:
        wanted = np.concatenate([cells for _, cells in _by_site(subject, at, tokens, sources, sites)])
        return mx.array(np.where(np.isfinite(wanted), wanted, 0.0))

    return REACH * moved_by_rounding(subject.model, every)


def means(sites: Any, subject: Subject, prompts: Any) -> Mean:
    """Each site's mean over some prompts' positions."""
    values = {}
    for site in sites:
        rows = [np.array(trace(subject, prompt, capture=site)[site])[0] for prompt in prompts]
        values[site] = np.concatenate(rows).mean(axis=0)
    return Mean(values)
