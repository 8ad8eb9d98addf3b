"""Attribution patching with confirmation: cells chosen by their gradient, then patched exactly.

Nanda 2023; Syed et al. 2023 (arXiv:2310.10348). The estimates are those of `lazarus_probe.sweep.attribution`. They are
first-order, so the chosen cells are patched by the exact sweep, and as many cells drawn at random for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, Tokens, encode_pairs, tokens_of
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.student import Estimate, mean_t_interval
from lazarus_probe.sweep import Cell, Donors, Sweep, attribution, correlation, logit_diff, screen, sweep
from lazarus_probe.sweep.result import mean_defined
from lazarus_probe.tables import Cell as Shaded
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

KINDS = ("resid_post", "attn_out", "mlp_out", "head_out", "neurons")
METRIC = "logit_diff"


@dataclass(frozen=True, eq=False)
class Confirmed:
    """One cell: the gradient's estimate and the effect of the patch, on pairs that have its position.

    Attributes:
        site: that was patched.
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
        tokens: the metric is the difference of their logits.
        estimate: the whole grid to first order, with the exact metric of targets and sources.
        exact: the patched cells: the chosen and as many drawn ones, or the whole grid.
        cells: the chosen, by the size of their estimate.
        others: mean size of the exact effect of the patched cells that were not chosen; NaN without such cells.
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
            "estimates": mean_defined(effects(self.estimate)).tolist(),
            "exact": mean_defined(effects(self.exact)).tolist() if self.checked else None,
        }

    def _repr_html_(self) -> str:
        means = mean_defined(effects(self.estimate))
        shades = np.nan_to_num(means / (np.nanmax(np.abs(means)) or 1.0))
        rows = [
            [str(site), *(Shaded(value, shade=shade) for value, shade in zip(*pair, strict=True))]
            for site, *pair in zip(self.estimate.sites, means.tolist(), shades.tolist(), strict=True)
        ]
        columns = [Column("site"), *(Column(str(position), "+.2f") for position in self.estimate.positions)]
        return Table(columns, rows, "estimated effect by site and position").html()


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
        layers: all by default.
        top: how many cells are patched exactly.
        check: patch the whole grid exactly, to test the estimates.
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
        kind=kind,
        pairs=tuple(encoded),
        tokens=tokens,
        estimate=estimate,
        exact=exact,
        cells=tuple(_confirmed(cell, estimate, exact) for cell in chosen),
        others=_others(exact, chosen),
        correlation=_correlation(estimate, exact),
        checked=check,
    )


def sites_of(subject: Subject, kind: str, layers: Sequence[int]) -> list[Site]:
    """The sites of a kind in some layers, heads one by one; layers without it are left out.

    Raises:
        ValueError: an unknown kind, or one that no layer has.
    """
    if kind not in KINDS:
        raise ValueError(f"site {kind!r} is unknown; {one_of(kind, KINDS)}")
    sites = []
    for layer in layers:
        if kind in kinds_at(subject.anatomy, layer):
            heads = subject.anatomy.parts[layer].heads if kind == "head_out" else None
            sites += [Site(kind, layer, head) for head in (range(heads.num_heads) if heads else [None])]
    if not sites:
        raise ValueError(f"none of the requested layers of {subject.name} has {kind}; give another site")
    return sites


def effects(result: Sweep) -> NDArray[Any]:
    """(P, sites, positions) the metric minus that of the unpatched target."""
    return np.asarray(result.values[METRIC][:, 0] - result.baseline[METRIC][:, None, None], dtype=np.float64)


def _drawn(estimate: Sweep, chosen: Sequence[Cell], seed: int) -> list[Cell]:
    """As many other cells as were chosen, or all there are."""
    defined = np.isfinite(effects(estimate)).any(axis=0)
    others = [
        Cell(site, position)
        for row, site in enumerate(estimate.sites)
        for column, position in enumerate(estimate.positions)
        if defined[row, column] and Cell(site, position) not in chosen
    ]
    drawn = np.random.default_rng(seed).permutation(len(others))[: len(chosen)]
    return [others[index] for index in drawn.tolist()]


def _index(result: Sweep, cell: Cell) -> tuple[int, int]:
    return result.sites.index(Site.parse(cell.site)), result.positions.index(cell.position)


def _confirmed(cell: Cell, estimate: Sweep, exact: Sweep) -> Confirmed:
    values = effects(exact)[:, *_index(exact, cell)]
    defined = np.isfinite(values)
    difference = float((exact.donors[METRIC][:, 0] - exact.baseline[METRIC])[defined].mean())
    effect = mean_t_interval(values[defined])
    return Confirmed(
        site=Site.parse(cell.site),
        position=int(cell.position),
        estimate=float(mean_defined(effects(estimate))[_index(estimate, cell)]),
        exact=effect,
        share=float(effect.mean) / difference if difference else float("nan"),
        n=int(defined.sum()),
    )


def _others(exact: Sweep, chosen: Sequence[Cell]) -> float:
    values = np.abs(effects(exact))
    for cell in chosen:
        values[:, *_index(exact, cell)] = np.nan
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _correlation(estimate: Sweep, exact: Sweep) -> float:
    values = effects(exact)
    if np.isfinite(values).sum() < 2 or np.nanstd(values) == 0:
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return correlation(estimate, exact, METRIC)
