"""Attribution patching: what a patch of every cell would do, to first order, from one gradient.

Nanda 2023, "Attribution patching: activation patching at industrial scale"; Syed et al. 2023 (arXiv:2310.10348). Cheap
enough to screen a whole grid, and wrong where the model is far from linear between target and donor: confirm the best
cells with `sweep(..., cells=screen(...))`.
"""

# ruff: noqa: N806 - T is the name that the field gives to the length

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.anatomy.split_gradients import require_whole_gradients
from lazarus_probe.hooks.places import tap_at
from lazarus_probe.hooks.sites import Site, position_axis
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import refuse
from lazarus_probe.subject.last_position import last_position
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.engine import donors_of
from lazarus_probe.sweep.grid import ALL, NOWHERE, Cell, Grid, Positions, make_grid
from lazarus_probe.sweep.metrics import Metric, Reader, reader
from lazarus_probe.sweep.record import record
from lazarus_probe.sweep.result import Sweep, names_of
from lazarus_probe.sweep.sources import Donors, SiteValues
from lazarus_probe.taps import tapped

# Tokens in one backward pass, which holds all of their activations.
TOKENS = 1024
SOURCE = "donor"


def attribution(
    subject: Subject,
    targets: Sequence[Prompt],
    donors: Sequence[Prompt],
    sites: Sequence[Site | str],
    metric: Metric,
    positions: Positions = "each",
) -> Sweep:
    """Estimate every cell of a patching sweep: the metric, plus its gradient times (donor - target) at the cell.

    One forward of the donors, and one forward and backward of the targets, give all sites and positions at once.

    Args:
        subject: the model.
        targets: P prompts.
        donors: one per target, with as many tokens.
        sites: where to patch.
        metric: what to estimate; `logit_diff` is closest to linear.
        positions: as in `sweep`; "all" is the sum over the positions.

    Returns:
        What `sweep` returns with these donors as the source "donor": estimated values, exact `baseline` and `donors`.

    Raises:
        ValueError: as `sweep`.
        IndexError: as `sweep`.
        UnsupportedArchitecture: the model is split over processes, and mlx-lm does not sum its gradients over them.

    Example:
        >>> from lazarus_probe.sites import attn_out
        >>> from lazarus_probe.sweep import attribution, logit_diff
        >>> sites = [attn_out(layer) for layer in range(subject.num_layers)]
        >>> estimate = attribution(subject, ["7+8="], ["7*8="], sites, logit_diff("56", "15"))
        >>> estimate.grid("logit_diff").shape
        (8, 5)
    """
    encoded = encode_all(subject, targets)
    if not encoded:
        raise ValueError("no targets; give at least one prompt")
    sources = donors_of(subject, SOURCE, Donors(donors), encoded)
    grid = make_grid(subject.anatomy, sites, positions, None, [len(ids) for ids in encoded])
    require_whole_gradients(
        subject.anatomy, [(-1 if site.layer is None else site.layer, site.kind) for site in grid.sites]
    )
    read = reader(subject, [metric], len(encoded))
    values = np.full((len(encoded), 1, *grid.wanted.shape), np.nan, np.float32)
    baseline, donor = (
        np.full(len(encoded), np.nan, np.float32),
        np.full((len(encoded), 1), np.nan, np.float32),
    )
    batches = list(by_length(encoded, TOKENS))

    def run(batch: tuple[list[int], mx.array]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        indices, tokens = batch
        source = mx.array([list(sources[index]) for index in indices])
        before, after, parts = _batch(subject, tokens, source, grid.sites, read, np.array(indices))
        return before, after, before[:, None, None] + _cells(grid, parts)

    for (indices, _), (before, after, cells) in zip(batches, dealt(subject, batches, run), strict=True):
        baseline[indices], donor[indices, 0], values[indices, 0] = before, after, cells
    name = metric.name
    return Sweep(
        prompts=names_of(targets),
        sources=(SOURCE,),
        sites=grid.sites,
        positions=grid.positions,
        values={name: values},
        baseline={name: baseline},
        donors={name: donor},
        routes=("gradient",) * len(grid.sites),
    )


def correlation(estimate: Sweep, exact: Sweep, metric: str) -> float:
    """Pearson correlation of estimated and exact effects, over the cells that both have.

    Raises:
        ValueError: they share fewer than two cells, or are of other prompts.

    Example:
        >>> from lazarus_probe.sites import mlp_out
        >>> from lazarus_probe.sweep import Donors, attribution, correlation, logit_diff, sweep
        >>> metric = logit_diff("56", "15")
        >>> sites = [mlp_out(layer) for layer in range(subject.num_layers)]
        >>> estimate = attribution(subject, ["7+8="], ["7*8="], sites, metric)
        >>> exact = sweep(subject, ["7+8="], sites, sources={"product": Donors(["7*8="])}, metrics=[metric])
        >>> correlation(estimate, exact, "logit_diff") > 0.5
        True
    """
    if estimate.prompts != exact.prompts:
        raise ValueError("the two are of different prompts; sweep the prompts of the attribution")
    sites = [site for site in estimate.sites if site in exact.sites]
    positions = [position for position in estimate.positions if position in exact.positions]
    effects = [
        _effects(result, metric)[:, 0][:, [result.sites.index(site) for site in sites]][
            :, :, [result.positions.index(position) for position in positions]
        ]
        for result in (estimate, exact)
    ]
    defined = np.isfinite(effects).all(axis=0)
    if defined.sum() < 2:
        raise ValueError(
            "the two share fewer than two cells; sweep the sites and positions of the attribution"
        )
    return float(np.corrcoef(effects[0][defined], effects[1][defined])[0, 1])


def screen(result: Sweep, top: int, metric: str | None = None) -> list[Cell]:
    """The cells with the largest mean absolute effect over prompts and sources, the largest first.

    Raises:
        ValueError: `top` is below 1.

    Example:
        >>> from lazarus_probe.sites import attn_out
        >>> from lazarus_probe.sweep import Donors, attribution, logit_diff, screen, sweep
        >>> metric = logit_diff("56", "15")
        >>> sites = [attn_out(layer) for layer in range(subject.num_layers)]
        >>> cells = screen(attribution(subject, ["7+8="], ["7*8="], sites, metric), top=3)
        >>> sources = {"product": Donors(["7*8="])}
        >>> exact = sweep(subject, ["7+8="], cells=cells, sources=sources, metrics=[metric])
        >>> np.isfinite(exact.values["logit_diff"]).sum().item()
        3
    """
    if top < 1:
        raise ValueError(f"top is {top}; at least 1 is needed")
    effects = np.abs(_effects(result, metric or next(iter(result.values))))
    defined = np.isfinite(effects)
    counts = defined.sum(axis=(0, 1))
    mean = np.where(defined, effects, 0).sum(axis=(0, 1)) / np.maximum(counts, 1)
    order = np.argsort(-np.where(counts, mean, -np.inf), axis=None, kind="stable")[:top]
    return [
        Cell(result.sites[site], result.positions[position])
        for site, position in zip(*np.unravel_index(order, mean.shape), strict=True)
        if counts[site, position]
    ]


def _effects(result: Sweep, metric: str) -> NDArray[Any]:
    return np.asarray(result.values[metric] - result.baseline[metric][:, None, None, None])


def _batch(
    subject: Subject,
    targets: mx.array,
    donors: mx.array,
    sites: Sequence[Site],
    read: Reader,
    prompts: NDArray[np.intp],
) -> tuple[NDArray[Any], NDArray[Any], dict[Site, NDArray[Any]]]:
    """Metrics of targets and donors (B,), and by site the estimated effect at each position (B, T)."""
    anatomy, name = subject.anatomy, read.metrics[0].name
    source = record(anatomy, donors, sites, (), own=False, tail=False)

    def total(added: dict[str, mx.array]) -> tuple[mx.array, mx.array, dict[str, mx.array]]:
        logits, values = _run(anatomy, targets, list(source.values), added)
        numbers = read.read(logits, mx.stop_gradient(logits), prompts)[name]
        return numbers.sum(), numbers, values

    zeros = {str(site): mx.zeros_like(donor.values) for site, donor in source.values.items()}
    (_, before, values), gradients = mx.value_and_grad(total)(zeros)
    after = read.read(source.logits, source.logits, prompts)[name]
    parts = {site: _summed(site, source.values, values, gradients) for site in sites}
    mx.eval(before, after, parts)
    for tokens, numbers in ((targets, before), (donors, after)):
        if not mx.isfinite(numbers).all().item():
            refuse(subject, tokens, f"{name} and the logits")
    return np.array(before), np.array(after), {site: np.array(part) for site, part in parts.items()}


def _run(
    anatomy: Anatomy, tokens: mx.array, sites: Sequence[Site], added: Mapping[str, mx.array]
) -> tuple[mx.array, dict[str, mx.array]]:
    """Logits (B, V) at the last position with something added at every site, and the values (B, L, ...) there."""
    values: dict[str, mx.array] = {}

    def visitor(site: Site) -> Callable[[mx.array], mx.array]:
        axis = position_axis(site)

        def visit(value: mx.array) -> mx.array:
            moved = mx.moveaxis(value, axis, 1) + added[str(site)]
            values[str(site)] = moved
            return mx.moveaxis(moved, 1, axis)

        return visit

    taps = [tap_at(anatomy, site, visitor(site)) for site in sites]
    with tapped(taps), tapped(last_position(anatomy)):
        logits = anatomy.model(tokens, cache=new_cache(anatomy.model))[:, -1]
    return logits, values


def _summed(
    site: Site,
    donors: Mapping[Site, SiteValues],
    targets: Mapping[str, mx.array],
    gradients: Mapping[str, mx.array],
) -> mx.array:
    """(B, L) gradient times (donor - target), summed over the value's own axes."""
    all_heads = Site(site.kind, site.layer)
    donor, target, gradient = donors[all_heads].values, targets[str(all_heads)], gradients[str(all_heads)]
    # Masked scores are equal, and their difference would be one of infinities.
    product = gradient * mx.where(donor == target, 0, donor - target)
    product = product if site.head is None else product[:, :, site.head]
    return product.reshape(*product.shape[:2], -1).sum(axis=-1)


def _cells(grid: Grid, parts: Mapping[Site, NDArray[Any]]) -> NDArray[Any]:
    """(B, sites, positions) from the effect (B, T) at every position; NaN where a prompt has no such position."""
    effects = np.stack([parts[site] for site in grid.sites], axis=1)
    T = effects.shape[-1]
    columns = [
        effects.sum(axis=-1)
        if at == ALL
        else effects[:, :, at]
        if at != NOWHERE
        else np.full(effects.shape[:2], np.nan)
        for at in grid.at(T)
    ]
    return np.stack(columns, axis=-1)
