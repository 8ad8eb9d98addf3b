"""The effect of a claim over versions, as a small SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from lazarus_probe.reports.versions.matrix import Row
from lazarus_probe.statistics.intervals import shown

STEP, HEIGHT = 24, 44  # of a curve, in units of its view box


def curve(row: Row) -> Markup:
    """The effect over versions with its intervals and the last threshold, as a small SVG in the colours of the page.

    It is written here: of hundreds of rows one from matplotlib each would make the page slow and large.
    """
    records = [cell.record for cell in row.cells]
    ends = [
        end
        for record in records
        if record
        for end in (record.score, record.low, record.high)
        if end is not None
    ]
    threshold = next((record.threshold for record in reversed(records) if record), None)
    values = [*ends, *([threshold] if threshold is not None else [])]
    scale = min([0.0, *values]), max([1.0, *values])
    width = STEP * len(records)
    parts = []
    if threshold is not None:
        parts.append(f'<path class="t" d="M0 {_at(threshold, scale)}h{width}"/>')
    bars = [
        f"M{_x(index)} {_at(record.low, scale)}V{_at(record.high, scale)}"
        for index, record in enumerate(records)
        if record and record.low is not None and record.high is not None
    ]
    points = [
        (_x(index), _at(record.score, scale))
        for index, record in enumerate(records)
        if record and record.score is not None
    ]
    line = "M" + "L".join(f"{x} {y}" for x, y in points) if len(points) > 1 else ""
    dots = "".join(f"M{x} {y}h.01" for x, y in points)
    parts += [
        f'<path class="{kind}" d="{path}"/>'
        for kind, path in (("i", "".join(bars)), ("c", line), ("d", dots))
        if path
    ]
    title = escape(f"effect over versions: {_spoken(row.scores)}")
    return Markup(  # noqa: S704 - numbers and an escaped text
        f'<svg class="f m" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" role="img">'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )


def _x(index: int) -> str:
    return f"{STEP * (index + 0.5):g}"


def _at(value: float, scale: tuple[float, float]) -> str:
    """How far below the upper edge a value lies."""
    share = (value - scale[0]) / (scale[1] - scale[0])
    return f"{2 + (HEIGHT - 4) * (1 - share):.4g}"


def _spoken(scores: Sequence[float | None]) -> str:
    return ", ".join("none" if score is None else shown(score) for score in scores)
