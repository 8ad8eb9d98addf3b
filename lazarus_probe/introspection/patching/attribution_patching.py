"""Attribution patching with its confirmation: cells chosen by their gradient, then patched exactly.

Nanda 2023; Syed et al. 2023 (arXiv:2310.10348). The estimates are those of `lazarus_probe.sweep.attribution`. They are
first-order, so what they pick out is patched by the exact sweep, next to as many cells drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site, kinds_at
from lazarus_probe.introspection.display import Cell as Shown
from lazarus_probe.introspection.display import table
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, Tokens, encode_pairs, tokens_of
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.student import Estimate, mean_t_interval
from lazarus_probe.sweep import Cell, Donors, Sweep, attribution, correlation, logit_diff, screen, sweep

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

KINDS = ("resid_post", "attn_out", "mlp_out", "head_out", "neurons")
METRIC = "logit_diff"


@dataclass(frozen=True, eq=False)
class Confirmed:
    """One cell: what the gradient says of it and what the patch does, on pairs that have its position.

    Attributes:
        site: where.
        position: in the prompt, from its start.
        estimate: mean effect on the metric to first order.
        exact: mean effect of the patch, with its interval over pairs.
        share: that mean as a share of the mean difference of source and target.
        n: pairs.
    """

    site: Site
    position: int
    estimate: float
    exact: Estimate
    share: float
    n: int


@dataclass(frozen=True, eq=False)
class AttributionPatch:
    """A grid of estimates, and its largest cells patched exactly.

    Attributes:
        kind: of the sites.
        pairs: P pairs.
        tokens: whose logits' difference is the metric.
        estimate: the whole grid to first order, with the exact metric of targets and sources.
        exact: the cells that were patched: the chosen and as many drawn ones, or the whole grid.
        cells: the chosen, by the size of their estimate.
        others: mean size of the exact effect of the cells that were patched and not chosen; NaN where there are none.
        correlation: of estimate and exact effect over the cells patched; NaN where they do not vary.
        checked: whether the whole grid was patched.
    """

    kind: str
    pairs: tuple[EncodedPair, ...]
    tokens: Tokens
    estimate: Sweep
    exact: Sweep
    cells: tuple[Confirmed, ...]
    others: float
    correlation: float
    checked: bool

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data; grids are means over the pairs, sites by positions."""
        return {
            "site": self.kind,
            "n": len(self.pairs),
            "pairs": [{"source": pair.source.text, "target": pair.target.text} for pair in self.pairs],
            "answer_id": list(self.tokens.answers),
            "other_id": list(self.tokens.others),
            "target": float(self.estimate.baseline[METRIC].mean()),
            "source": float(self.estimate.donors[METRIC].mean()),
            "checked": self.checked,
            "correlation": self.correlation,
            "other_cells": self.others,
            "cells": [
                {
                    "site": str(cell.site),
                    "position": cell.position,
                    "estimate": cell.estimate,
                    "exact": float(cell.exact.mean),
                    "low": float(cell.exact.low),
                    "high": float(cell.exact.high),
                    "share": cell.share,
                    "n": cell.n,
                }
                for cell in self.cells
            ],
            "sites": [str(site) for site in self.estimate.sites],
            "positions": list(self.estimate.positions),
            "estimates": _means(effects(self.estimate)).tolist(),
            "exact": _means(effects(self.exact)).tolist() if self.checked else None,
        }

    def _repr_html_(self) -> str:
        means = _means(effects(self.estimate))
        largest = float(np.nanmax(np.abs(means))) or 1.0
        rows = [
            [
                str(site),
                *(Shown(f"{value:+.2f}", shade=float(np.nan_to_num(value / largest))) for value in row),
            ]
            for site, row in zip(self.estimate.sites, means, strict=True)
        ]
        return table(
            "estimated effect by site and position", ["site", *map(str, self.estimate.positions)], rows
        )


def attribution_patch(
    subject: Subject,
    pairs: Sequence[PromptPair],
    kind: str = "resid_post",
    layers: Sequence[int] | None = None,
    *,
    top: int = 10,
    check: bool = False,
    seed: int = 0,
    progress: bool = False,
) -> AttributionPatch:
    """Estimate the effect of patching every cell from the sources, and patch the largest cells exactly.

    Args:
        subject: the model.
        pairs: P pairs, the prompts of each with equally many tokens.
        kind: of the sites: one of `KINDS`; `head_out` is every head by itself, `neurons` all of a layer.
        layers: where; all by default.
        top: cells that are patched exactly.
        check: patch the whole grid exactly, to see how far the estimates hold.
        seed: of the drawn cells.
        progress: show a bar, where standard error is a terminal.

    Raises:
        ValueError: no pairs, unequal lengths, equal answers, an unknown kind, or a `top` below 1.

    Example:
        >>> from lazarus_probe import attribution_patch
        >>> from lazarus_probe.introspection import PromptPair
        >>> pairs = [PromptPair("7*8=", "7+8=", "56", "15"), PromptPair("6*9=", "6+9=", "54", "15")]
        >>> result = attribution_patch(subject, pairs, kind="attn_out", top=3)
        >>> result.estimate.grid("logit_diff").shape  # (layers, positions), to first order
        (8, 5)
        >>> len(result.cells)  # the largest, patched exactly
        3
    """
    encoded = encode_pairs(subject, pairs)
    tokens = tokens_of(subject, encoded)
    sites = sites_of(subject, kind, range(subject.num_layers) if layers is None else layers)
    targets, sources = [pair.target.ids for pair in encoded], [pair.source.ids for pair in encoded]
    metric = logit_diff(list(tokens.answers), list(tokens.others))
    estimate = attribution(subject, targets, sources, sites, metric)
    chosen = screen(estimate, top)
    cells = None if check else [*chosen, *_drawn(estimate, chosen, seed)]
    exact = sweep(
        subject,
        targets,
        sites if check else (),
        sources={"donor": Donors(sources)},
        metrics=[metric],
        cells=cells,
        progress=progress,
    )
    return AttributionPatch(
        kind,
        tuple(encoded),
        tokens,
        estimate,
        exact,
        tuple(_confirmed(cell, estimate, exact) for cell in chosen),
        _others(exact, chosen),
        _correlation(estimate, exact),
        check,
    )


def sites_of(subject: Subject, kind: str, layers: Sequence[int]) -> list[Site]:
    """The sites of a kind in some layers, heads one by one; layers without it are left out.

    Raises:
        ValueError: an unknown kind, or one that no layer has.
    """
    if kind not in KINDS:
        raise ValueError(f"site {kind!r} is unknown; {one_of(kind, KINDS)}")
    found = []
    for layer in layers:
        heads = subject.anatomy.parts[layer].heads
        if kind not in kinds_at(subject.anatomy, layer):
            continue
        many = kind == "head_out" and heads is not None
        found += [Site(kind, layer, head) for head in range(heads.num_heads if heads and many else 0)]
        found += [] if many else [Site(kind, layer)]
    if not found:
        raise ValueError(f"none of the layers of {subject.name} asked for has {kind}; give another site")
    return found


def effects(found: Sweep) -> NDArray[Any]:
    """(P, sites, positions) the metric less that of the untouched target."""
    return np.asarray(found.values[METRIC][:, 0] - found.baseline[METRIC][:, None, None], dtype=np.float64)


def _means(values: NDArray[Any]) -> NDArray[Any]:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=0) / known.sum(axis=0))


def _drawn(estimate: Sweep, chosen: Sequence[Cell], seed: int) -> list[Cell]:
    """As many other cells as were chosen, or all there are."""
    known = np.isfinite(effects(estimate)).any(axis=0)
    every = [
        Cell(site, position)
        for row, site in enumerate(estimate.sites)
        for column, position in enumerate(estimate.positions)
        if known[row, column] and Cell(site, position) not in chosen
    ]
    count = min(len(chosen), len(every))
    picked = np.random.default_rng(seed).permutation(len(every))[:count]
    return [every[index] for index in picked.tolist()]


def _place(found: Sweep, cell: Cell) -> tuple[int, int]:
    return found.sites.index(Site.parse(cell.site)), found.positions.index(cell.position)


def _confirmed(cell: Cell, estimate: Sweep, exact: Sweep) -> Confirmed:
    row, column = _place(exact, cell)
    values = effects(exact)[:, row, column]
    known = np.isfinite(values)
    whole = float((exact.donors[METRIC][:, 0] - exact.baseline[METRIC])[known].mean())
    found = mean_t_interval(values[known])
    return Confirmed(
        Site.parse(cell.site),
        int(cell.position),
        float(_means(effects(estimate))[_place(estimate, cell)]),
        found,
        float(found.mean) / whole if whole else float("nan"),
        int(known.sum()),
    )


def _others(exact: Sweep, chosen: Sequence[Cell]) -> float:
    values = np.abs(effects(exact))
    for cell in chosen:
        values[:, *_place(exact, cell)] = np.nan
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _correlation(estimate: Sweep, exact: Sweep) -> float:
    pairs = effects(exact)
    if np.isfinite(pairs).sum() < 2 or np.nanstd(pairs) == 0:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return correlation(estimate, exact, METRIC)
