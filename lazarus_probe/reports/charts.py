"""Curves and maps as they are in a report, by themselves: a notebook shows them, and a file keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.claims.record import CurveRecord, GridRecord
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.reports.figures import curve_figure, extremes, grid_figure
from lazarus_probe.reports.page import asset
from lazarus_probe.statistics.intervals import shown
from lazarus_probe.statistics.rows import numbers
from lazarus_probe.untrusted import clipped, visible

SCALE = 1.5  # a notebook's text is larger than that of a report's figures
ABOVE, BELOW, LEAST = 24, 16, 420  # of the title and of what stands below a map; the least width
DRAWN = re.compile(r"\.curve|\.grid|text\.|path\.|\.[knp]\d")  # how the rules for figures in style.css begin
NEEDED = re.compile(r"--(sheet|ink|soft|rule|pos|neg|bar|k\d|sans|mono): [^;]+;")
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
DARK = "@media (prefers-color-scheme: dark)"


@dataclass(frozen=True)
class Chart:
    """A drawing with its title.

    Attributes:
        svg: the drawing, with its colours: light or dark as the reader's system is.

    Example:
        >>> from lazarus_probe.reports import grid_chart
        >>> grid_chart([[0.0, 1.0]], "Attention", ["head 0"], ["7", "="]).save("attention.svg").name
        'attention.svg'
    """

    svg: str

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        return self.svg

    def save(self, path: Path | str) -> Path:
        """Write it to an SVG file."""
        written = Path(path)
        write_whole(written, self.svg)
        return written


def curve_chart(
    curves: Mapping[str, ArrayLike],
    title: str,
    *,
    axis: str = "layer",
    x: ArrayLike | None = None,
    threshold: float | None = None,
) -> Chart:
    """Curves over one axis, the first of them the one that matters.

    Args:
        curves: by name, (K,) values; or (K, 3) values with the lower and upper end of the interval of each.
        title: above them.
        axis: what x counts.
        x: (K,) places; by default 0 to K - 1, as layers are counted.
        threshold: drawn across.

    Raises:
        ValueError: no curves, values that are not finite, or shapes that do not match.

    Example:
        >>> from lazarus_probe.reports import curve_chart
        >>> chart = curve_chart({"model": [0.1, 0.4, 0.9], "untrained": [0.1, 0.1, 0.2]}, "Accuracy by layer")
        >>> chart.svg.startswith("<svg"), "untrained" in chart.svg
        (True, True)
    """
    if not curves:
        raise ValueError("no curves to draw: give at least one, as in {'model': scores}")
    records = [_curve(name, values, axis, x) for name, values in curves.items()]
    drawn = curve_figure(records, () if threshold is None else (threshold,), title)
    return Chart(_alone(drawn, title))


def grid_chart(
    values: ArrayLike, title: str, rows: Sequence[object], columns: Sequence[object], *, legend: str = ""
) -> Chart:
    """A map of values: the further from 0, the stronger the colour; below 0 in another one.

    Args:
        values: (R, C) numbers.
        title: above it.
        rows: R names.
        columns: C names, such as tokens.
        legend: what a value is; the least and the greatest are named next to it.

    Raises:
        ValueError: values that are not finite, or shapes that do not match.

    Example:
        >>> from lazarus_probe.reports import grid_chart
        >>> chart = grid_chart([[0.0, 0.9], [0.1, -0.2]], "Effect of a head", ["L0", "L1"], ["H0", "H1"])
        >>> "to 0.90 (L0, H1)" in chart.svg
        True
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(rows), len(columns)) or not array.size:
        raise ValueError(
            f"values of {title!r} has shape {array.shape}: give one for each of {len(rows)} rows and "
            f"{len(columns)} columns"
        )
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"the value at {rows[row]}, {columns[column]} of {title!r} is {array[row, column]}")
    names = [[str(name) for name in axis] for axis in (rows, columns)]
    grid = GridRecord(name=title, rows=names[0], columns=names[1], values=array.tolist())
    (least, *there), (most, *here) = extremes(grid)
    low, high = (", ".join(clipped(name, 24) for name in place) for place in (there, here))
    range_of = f"from {_number(least)} ({low}) to {_number(most)} ({high})"
    return Chart(_alone(grid_figure(grid, title), title, f"{legend}: {range_of}" if legend else range_of))


def _curve(name: str, values: ArrayLike, axis: str, x: ArrayLike | None) -> CurveRecord:
    array = np.asarray(values, dtype=np.float64)
    places = numbers(np.arange(len(array)) if x is None else x, "x")
    if (
        array.ndim not in (1, 2)
        or len(array) != len(places)
        or not array.size
        or array.shape[1:] not in ((), (3,))
    ):
        raise ValueError(
            f"curve {name!r} has shape {array.shape}: give one value for each of {len(places)} places, or the value, "
            "low and high of each"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"curve {name!r} is not finite at place {int(np.argwhere(~np.isfinite(array))[0][0])}"
        )
    columns: NDArray[np.float64] = array.reshape(len(array), -1).T
    y, *ends = columns.tolist()
    low, high = ends or (None, None)
    return CurveRecord(name=name, x=places.tolist(), y=y, low=low, high=high, axis=axis)


def _alone(drawn: Markup, title: str, below: str = "") -> str:
    """A figure of a report as a document of its own: with the rules for its colours, its title, and a ground."""
    svg = str(drawn)  # a Markup would escape what is put into it
    head, kind, box = re.findall(r'^(<svg class="(\w+)" viewBox="0 0 (\d+ \d+)")', svg)[0]
    wide, high = map(int, box.split())
    width, height = max(wide, LEAST) + 8, ABOVE + high + BELOW * bool(below)
    size = "" if kind == "grid" else f' width="{wide}" height="{high}"'
    inner = svg.replace(head, f'{head} x="4" y="{ABOVE}"{size}', 1)
    texts = f'<text class="title" x="8" y="16">{escape(visible(title))}</text>'
    texts += f'<text class="below" x="8" y="{height - 5}">{escape(visible(below))}</text>' if below else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" '
        f'width="{SCALE * width:g}" height="{SCALE * height:g}"><style>{_style()}</style>'
        f'<rect class="ground" width="{width}" height="{height}"/>{texts}{inner}</svg>'
    )


def _style() -> str:
    """The rules of the report's style sheet that its figures need, for these alone: they share a notebook's page."""
    sheet = str(asset("style.css"))
    light, _, rest = sheet.partition(DARK)
    rules = [
        (", ".join(f".chart {part.strip()}" for part in selectors.split(",")), body.strip())
        for selectors, body in RULE.findall(rest.partition("@media")[0])
        if DRAWN.match(selectors.strip())
    ]
    rules += [
        (".chart .ground", "fill: var(--sheet);"),
        (".chart .title", "font: 600 12px var(--sans); fill: var(--ink);"),
        (".chart .below", "font: 10px var(--sans); fill: var(--soft);"),
    ]
    colours = f".chart {{ {_variables(light)} }} {DARK} {{ .chart {{ {_variables(rest)} }} }}"
    return " ".join([colours, *(f"{selectors} {{ {body} }}" for selectors, body in rules)])


def _variables(text: str) -> str:
    block = text[text.index(":root") :]
    return " ".join(match[0] for match in NEEDED.finditer(block[: block.index("}")]))


def _number(value: float) -> str:
    return shown(value).replace("-", "\N{MINUS SIGN}")
