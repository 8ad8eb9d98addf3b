"""A run as its page shows it: claims, their records, and what is drawn of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from lazarus_probe.claims.claim import POSITIVE, Claim
from lazarus_probe.claims.record import ClaimRecord, CurveRecord, ExampleRecord, MeasurementRecord
from lazarus_probe.reports.circuit_figure import circuit_figure
from lazarus_probe.reports.figures import curve_figure, extremes, grid_figure
from lazarus_probe.statistics.intervals import shown
from lazarus_probe.untrusted import clipped

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run
    from lazarus_probe.reports.versions.compare import Comparison

LAYER = re.compile(r"L(\d+)")


@dataclass(frozen=True)
class Figure:
    """A drawing: of curves, of a map, or of something with style rules of its own."""

    svg: Markup
    caption: str
    curves: bool = False
    style: str = ""


@dataclass(frozen=True)
class Row:
    """A record as the page shows it, under an id that is stable from run to run, and that of its claim."""

    slug: str
    of: str
    record: ClaimRecord

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """Of the measurement's curves and maps; drawn where the page has room for them."""
        return tuple(_figures(self.record))

    @property
    def found(self) -> MeasurementRecord | None:
        """What was measured."""
        return self.record.measurement

    @property
    def same(self) -> bool:
        """Whether a baseline holds these very numbers, as of equal weights and seed: no two estimates to compare."""
        known = self.record.known
        if known is None or self.found is None:
            return False
        return (known.score, known.low, known.high) == (self.found.score, self.found.low, self.found.high)

    @property
    def moved(self) -> bool:
        """Whether verdict or claim changed since the baseline, or the effect did by more than chance."""
        known = self.record.known
        real = known is not None and known.difference is not None and known.difference.real
        return self.record.changed or real or (known is not None and known.compared == "nothing")

    @property
    def scale(self) -> tuple[float, float]:
        """The ends of an axis that holds the score, the scores of the controls and the thresholds."""
        values = [value for row in self.scores for value in row[:-1]]
        return _scale([*values, *thresholds(self.record.claim)], 1.0)

    @property
    def gain_scale(self) -> tuple[float, float]:
        """The ends of an axis that holds 0, the margin and the gains."""
        margin = self.record.claim.margin
        return _scale([value for row in self.gains for value in row[:-1]], margin)

    def fits(self, scale: tuple[float, float]) -> bool:
        """Whether the effect, its interval and its thresholds lie on an axis."""
        found = self.found
        ends = [found.score, found.low, found.high] if found else []
        return all(scale[0] <= value <= scale[1] for value in (*ends, *thresholds(self.record.claim)))

    @property
    def topic(self) -> str:
        """The folder of its test, as in `heads`; empty where the test lies in none."""
        return Path(self.record.test.partition("::")[0]).parent.name

    @property
    def scores(self) -> list[tuple[float, ...]]:
        """The dots of a forest plot: value, ends where it has any, and which row it stands in."""
        if self.found is None:
            return []
        score = (self.found.score, self.found.low, self.found.high, 0)
        return [score, *((control.score, row) for row, control in enumerate(self.found.controls, 1))]

    @property
    def gains(self) -> list[tuple[float, ...]]:
        """The dots of the gains, below an empty row for the score's."""
        controls = self.found.controls if self.found else []
        dots = ((control.gain, control.low, control.high, row) for row, control in enumerate(controls, 1))
        return [(), *dots]


@dataclass(frozen=True)
class Topic:
    """A folder of claims; without a name where they lie in none."""

    name: str
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Group:
    """A claim and its records."""

    slug: str
    claim: Claim
    claim_hash: str
    rows: tuple[Row, ...]

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """A curve of each model on which it was tested layer by layer."""
        return tuple(_layer_figures([row.record for row in self.rows]))

    @property
    def direction(self) -> str:
        """What its gains are, in words."""
        if self.claim.kind in POSITIVE:
            return "reach of each positive control beyond the score"
        return "gain over each control"


def groups_of(run: Run) -> list[Group]:
    """The claims of a run in its order, each with its records; one that was declared twice stands twice."""
    by_claim: dict[str, list[Row]] = {}
    for record, slug in zip(run.claims, _slugs(run.claims), strict=True):
        of = f"~{record.claim.id}~{record.claim_hash[:6]}"  # no record's begins so
        by_claim.setdefault(of, []).append(Row(slug, of, record))
    return [
        Group(of, rows[0].record.claim, rows[0].record.claim_hash, tuple(rows))
        for of, rows in by_claim.items()
    ]


def topics_of(groups: Sequence[Group]) -> list[Topic]:
    """The claims by the folders of their tests, in the order of the first claim of each."""
    by_topic: dict[str, list[Group]] = {}
    for group in groups:
        by_topic.setdefault(group.rows[0].topic, []).append(group)
    return [Topic(name, tuple(of_topic)) for name, of_topic in by_topic.items()]


def began(run: str) -> str:
    """When a run began, from its name, as in `2026-11-30 00:07 UTC`; a name that says nothing of it stands as it is."""
    try:
        return datetime.strptime(run[:15], "%Y%m%d-%H%M%S").strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return run


def lasted(seconds: float) -> str:
    """How long a run took, as in `40 s` or `10 min 41 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def error_of(example: ExampleRecord) -> float | None:
    """What was said less what was expected, where both are numbers."""
    try:
        return float(example.said) - float(example.expected)
    except ValueError:
        return None


def with_comparison(run: Run, comparison: Comparison) -> Run:
    """A run whose records know what a comparison says of them, in place of the baseline they were tested against."""
    known = {(line.claim, line.model): line.old for line in comparison.lines if line.new}
    claims = [
        record.model_copy(update={"known": known.get((record.key, record.model.name))})
        for record in run.claims
    ]
    return run.model_copy(update={"claims": claims})


def _slugs(records: Iterable[ClaimRecord]) -> list[str]:
    """An id for each record: of the claim, its parameters and the model, with a number where that is not enough."""
    slugs: dict[str, int] = {}
    out = []
    for record in records:
        parts = filter(None, (record.claim.id, record.parameters, record.model.name))
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", "--".join(parts))[:120]
        slugs[slug] = slugs.get(slug, 0) + 1
        out.append(slug if slugs[slug] == 1 else f"{slug}~{slugs[slug]}")
    return out


def _figures(record: ClaimRecord) -> Iterator[Figure]:
    measurement = record.measurement
    if measurement is None:
        return
    by_axis: dict[str, list[CurveRecord]] = {}
    for curve in measurement.curves:
        by_axis.setdefault(curve.axis, []).append(curve)
    for lines in by_axis.values():
        yield _curves(lines, record.claim, measurement.unit, f"{record.key} on {record.model.name}")
    for grid in measurement.grids:
        (least, *there), (most, *here) = extremes(grid)
        low, high = (", ".join(clipped(name, 24) for name in place) for place in (there, here))
        caption = f"{grid.name}: from {number(least)} ({low}) to {number(most)} ({high})"
        yield Figure(grid_figure(grid, caption), caption)
    if drawn := circuit_figure(measurement.details, f"{record.key} on {record.model.name}"):
        svg, style = drawn
        yield Figure(svg, f"edges with the largest scores, {record.key} on {record.model.name}", style=style)


def _curves(curves: Sequence[CurveRecord], claim: Claim, of: str, where: str) -> Figure:
    """The score stands first, in the ink of the page and beside its threshold; where there is none, neither is."""
    score = [curve for curve in curves if curve.name == "score"]
    lines = [*score, *(curve for curve in curves if curve.name != "score")]
    caption = f"{of} by {curves[0].axis}, {where}" if score else f"by {curves[0].axis}, {where}"
    bars = thresholds(claim) if score else ()
    return Figure(curve_figure(lines, bars, caption, emphasised=bool(score)), caption, curves=True)


def _layer_figures(records: Sequence[ClaimRecord]) -> list[Figure]:
    """A curve of each model on which a claim was tested layer by layer, its controls beside it."""
    layers: dict[str, dict[int, MeasurementRecord]] = {}
    for record in records:
        layer = LAYER.fullmatch(record.parameters)
        if layer and record.measurement:
            layers.setdefault(record.model.name, {})[int(layer[1])] = record.measurement
    return [
        _curves(_across(by_layer), records[0].claim, next(iter(by_layer.values())).unit, f"on {model}")
        for model, by_layer in layers.items()
        if len(by_layer) > 2
    ]


def _across(by_layer: dict[int, MeasurementRecord]) -> list[CurveRecord]:
    xs = sorted(by_layer)
    at = [by_layer[x] for x in xs]
    score = CurveRecord(
        name="score",
        x=[float(x) for x in xs],
        y=[measurement.score for measurement in at],
        low=[measurement.low for measurement in at],
        high=[measurement.high for measurement in at],
        axis="layer",
    )
    names = dict.fromkeys(control.name for measurement in at for control in measurement.controls)
    return [score, *(_control_across(name, by_layer) for name in names)]


def _control_across(name: str, by_layer: dict[int, MeasurementRecord]) -> CurveRecord:
    scores = {
        float(x): control.score
        for x in sorted(by_layer)
        for control in by_layer[x].controls
        if control.name == name
    }
    return CurveRecord(name=name, x=list(scores), y=list(scores.values()), low=None, high=None, axis="layer")


def thresholds(claim: Claim) -> tuple[float, ...]:
    """The lines that a score is compared with."""
    return (-claim.threshold, claim.threshold) if claim.kind == "invariance" else (claim.threshold,)


def _scale(values: Sequence[float], least: float) -> tuple[float, float]:
    """From 0 to `least` where all is in there, else a little further than the values."""
    low, high = min([0.0, *values]), max([least, *values])
    room = 0.04 * (high - low)
    return (low - room if low < 0 else low), (high + room if high > least else high)


def number(value: float) -> str:
    """Two decimals, a real minus, and no minus before 0."""
    return shown(value).replace("-", "\N{MINUS SIGN}")
