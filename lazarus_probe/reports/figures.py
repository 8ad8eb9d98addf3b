"""Curves along the layers and maps of layers by positions, as small SVGs that take their colours from the page.

Matplotlib draws, on a bare figure: axes would cost twice the time and bytes. Its output is taken apart and only
paths come back, each with the class that its artist carries as gid: a page with a strict policy on content takes no
`style` attributes, and classes follow the reader's light or dark. Texts are written beside its paths: it would look
for the glyphs of a token in its own font, and read `$` as mathematics.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup, escape

from lazarus_probe.claims.record import CurveRecord, GridRecord
from lazarus_probe.untrusted import clipped, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 470.0, 190.0
LEFT, RIGHT, BOTTOM, TOP = 34.0, 352.0, 30.0, 182.0  # of the frame of a curve, counted from below
SERIES = 7  # classes k0 ... k6 in the style sheet
LEVELS = 10
CELL_HEIGHT = 13.0
COLUMN_NAMES = 64
NAMED = 20  # characters of a name beside the end of its curve
LINE = 10.5  # from one of these names to the next
KINDS = re.compile(r"[glbot]( k\d)?|[np]\d+")  # grid, line, band, dots, threshold; cells below and above 0

Points = Sequence[tuple[float, float]]


def line_class(index: int, *, emphasised: bool) -> str:
    """The class of a curve: `k0` is that of the one that matters, if there is one; the others take turns."""
    return "k0" if emphasised and index == 0 else f"k{1 + (index - emphasised) % (SERIES - 1)}"


def curve_figure(
    curves: Sequence[CurveRecord], thresholds: Sequence[float], title: str, *, emphasised: bool = True
) -> Markup:
    """Curves over one axis with their intervals as bands.

    Args:
        curves: that share an axis.
        thresholds: drawn across.
        title: for who cannot see it.
        emphasised: whether the first is the one that matters.
    """
    low, high = _range([*thresholds, *(value for curve in curves for value in _values(curve))])
    ends = [min(min(curve.x) for curve in curves), max(max(curve.x) for curve in curves)]
    figure, texts = _figure(WIDTH, HEIGHT), list[str]()

    def at(x: float, y: float) -> tuple[float, float]:
        return _between(x, ends[0], ends[1], LEFT + 8, RIGHT - 8), _between(y, low, high, BOTTOM, TOP)

    for tick in _ticks(low, high, whole=False):
        _line(figure, [(LEFT, at(0, tick)[1]), (RIGHT, at(0, tick)[1])], "g")
        texts.append(_text(LEFT - 5, HEIGHT - at(0, tick)[1] + 3.5, f"{tick:g}", "e"))
    layers = curves[0].axis == "layer"
    for tick in _ticks(*ends, whole=all(x == round(x) for curve in curves for x in curve.x)):
        name = "embed" if layers and tick == -1 else f"{tick:g}"
        texts.append(_text(at(tick, 0)[0], HEIGHT - BOTTOM + 13, name, "m"))
    texts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 4, curves[0].axis, "m"))
    for threshold in thresholds:
        _line(figure, [(LEFT, at(0, threshold)[1]), (RIGHT, at(0, threshold)[1])], "t")
    for index, curve in reversed(list(enumerate(curves))):
        _curve(figure, curve, line_class(index, emphasised=emphasised), at)
    texts += _names(curves, thresholds, lambda x, y: HEIGHT - at(x, y)[1], emphasised=emphasised)
    return _svg(figure, texts, title, "curve")


def _names(
    curves: Sequence[CurveRecord], thresholds: Sequence[float], below: Any, *, emphasised: bool
) -> list[str]:
    """The name of each curve and threshold beside its end, moved apart where ends are close."""
    ends = [(below(0, threshold), "threshold", "bar") for threshold in thresholds[-1:]]
    for index, curve in enumerate(curves):
        last = max(range(len(curve.x)), key=lambda place: curve.x[place])
        ends.append(
            (below(curve.x[last], curve.y[last]), curve.name, line_class(index, emphasised=emphasised))
        )
    ends.sort(key=lambda end: end[0])
    places = _apart([place for place, _, _ in ends], LINE, HEIGHT - TOP, HEIGHT - BOTTOM)
    return [
        _text(RIGHT + 4, place + 3.5, clipped(name, NAMED), f"s {kind}")
        for place, (_, name, kind) in zip(places, ends, strict=True)
    ]


def _apart(places: Sequence[float], least: float, first: float, last: float) -> list[float]:
    """Rising places moved as little as needed to be so far apart, between the first and the last as far as they fit."""
    moved = list(places)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + least)
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], last - least * (len(moved) - 1 - index))
    start = max(first - moved[0], 0.0) if moved else 0.0
    return [place + start for place in moved]


def grid_figure(grid: GridRecord, title: str) -> Markup:
    """A heatmap: the further from 0, the stronger the colour; below 0 in another one."""
    left = 8 + 6 * min(max(map(len, map(str, grid.rows))), 12)
    wide = 22.0 if len(grid.columns) <= 16 else 14.0
    upright = max(map(len, grid.columns)) > 2
    below = 8 + (6.0 * min(max(map(len, grid.columns)), 12) if upright else 10)
    width, height = left + wide * len(grid.columns) + 4, below + CELL_HEIGHT * len(grid.rows) + 4
    figure = _figure(width, height)
    _cells(figure, grid, left, wide, height - 4)
    texts = [
        _text(left - 5, 4 + CELL_HEIGHT * (index + 0.75), clipped(name, 12), "e")
        for index, name in enumerate(grid.rows)
    ]
    for index in range(0, len(grid.columns), 1 + len(grid.columns) // COLUMN_NAMES):
        x, y, name = left + wide * (index + 0.5), height - below + 9, grid.columns[index][:12]
        texts.append(
            _text(x + 3.5, y - 3, name, "e", upright=True) if upright else _text(x, y + 3, name, "m")
        )
    return _svg(figure, texts, title, "grid", pixels=True, data=_values_of(grid, left, wide))


def _values_of(grid: GridRecord, left: float, wide: float) -> str:
    """Attributes that say of each cell what stands there, for a script to tell where a reader points."""
    axes = ([clipped(visible(name), 24) for name in axis] for axis in (grid.rows, grid.columns))
    rows, columns = (escape(json.dumps(axis, ensure_ascii=False)) for axis in axes)
    values = ";".join(",".join(f"{value:.3g}" for value in row) for row in grid.values)
    box = f"{left:g},4,{wide:g},{CELL_HEIGHT:g}"
    return f' data-box="{box}" data-rows="{rows}" data-columns="{columns}" data-values="{values}"'


def extremes(grid: GridRecord) -> tuple[tuple[float, str, str], tuple[float, str, str]]:
    """The least and the greatest value of a grid, each with the names of its row and column."""
    cells = [
        (value, row, column)
        for row, values in zip(grid.rows, grid.values, strict=True)
        for column, value in zip(grid.columns, values, strict=True)
    ]
    return min(cells, key=lambda cell: cell[0]), max(cells, key=lambda cell: cell[0])


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


def _values(curve: CurveRecord) -> Iterator[float]:
    yield from curve.y
    if len(curve.x) > 1:  # the interval of a single place may be as wide as it likes
        yield from [*(curve.low or ()), *(curve.high or ())]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """From 0 to 1 where all is in there; else as far as the values go, but no further down than twice their height."""
    low, high = min(0.0, *values), max(1.0, *values)
    return max(low, -2 * max(high, 1.0)), high


def _between(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where a value lies on the paper, clipped to the frame."""
    share = (value - low) / (high - low) if high > low else 0.5
    return start + min(max(share, 0.0), 1.0) * (end - start)


def _ticks(low: float, high: float, *, whole: bool) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    chosen = MaxNLocator(8 if whole else 4, integer=whole, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = [float(round(tick, 6)) for tick in chosen if low <= tick <= high]
    if whole and low == -1 and -1.0 not in ticks:
        ticks = [-1.0, *ticks]
    return ticks


def _curve(figure: Figure, curve: CurveRecord, kind: str, at: Any) -> None:
    from matplotlib.patches import Polygon

    order = sorted(range(len(curve.x)), key=lambda place: curve.x[place])
    if curve.low is not None and curve.high is not None and len(order) > 1:
        edge = [at(curve.x[i], curve.low[i]) for i in order]
        edge += [at(curve.x[i], curve.high[i]) for i in reversed(order)]
        figure.add_artist(Polygon(edge, transform=None, gid=f"b {kind}"))
    line = [at(curve.x[i], curve.y[i]) for i in order]
    if len(line) > 1:
        _line(figure, line, f"l {kind}")
    if kind == "k0" or len(line) == 1:
        _dots(figure, line, f"o {kind}")


def _line(figure: Figure, points: Points, kind: str) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D(*zip(*points, strict=True), transform=None, gid=kind))


def _dots(figure: Figure, points: Points, kind: str) -> None:
    """Lines of almost no length, which a round cap makes dots: a marker would be a shape kept apart and used."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = [corner for x, y in points for corner in ((x, y), (x + 0.1, y))]
    path = Path(corners, [Path.MOVETO, Path.LINETO] * len(points))
    figure.add_artist(PathPatch(path, transform=None, gid=kind))


def _text(x: float, y: float, text: str, anchor: str, *, upright: bool = False) -> str:
    turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upright else ""
    return f'<text class="{anchor}" x="{x:.1f}" y="{y:.1f}"{turned}>{escape(visible(text))}</text>'


def _cells(figure: Figure, grid: GridRecord, left: float, wide: float, top: float) -> None:
    """One path for all the cells of a level: a stroke as thick as a row for each run of neighbours in it."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    ends: dict[int, list[tuple[float, float]]] = {}
    for row, values in enumerate(levels(grid)):
        middle, start = top - CELL_HEIGHT * (row + 0.5), 0
        for end in range(1, len(values) + 1):
            if end < len(values) and values[end] == values[start]:
                continue
            ends.setdefault(values[start], []).extend((left + wide * at, middle) for at in (start, end))
            start = end
    for level, points in sorted(ends.items()):
        path = Path(points, [Path.MOVETO, Path.LINETO] * (len(points) // 2))
        figure.add_artist(PathPatch(path, transform=None, gid=f"{'n' if level < 0 else 'p'}{abs(level)}"))


def levels(grid: GridRecord) -> list[list[int]]:
    """Each value as one of `LEVELS` steps from 0 to the one furthest from it, with its sign."""
    furthest = max(abs(value) for row in grid.values for value in row) or 1.0
    return [[round(LEVELS * value / furthest) for value in row] for row in grid.values]


def _svg(
    figure: Figure, texts: Sequence[str], title: str, kind: str, *, pixels: bool = False, data: str = ""
) -> Markup:
    width, height = (round(72 * float(inches)) for inches in figure.get_size_inches())
    parts = "".join([*_paths(_drawn(figure, width, height)), *texts])
    sized = f' width="{width}" height="{height}"' if pixels else ""
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="{kind}" viewBox="0 0 {width} {height}"{sized}{data} role="img">'
        f"<title>{escape(visible(title))}</title>{parts}</svg>"
    )


def _drawn(figure: Figure, width: float, height: float) -> ElementTree.Element:
    """The figure as matplotlib writes it."""
    import matplotlib
    from matplotlib.backends.backend_svg import RendererSVG

    written = io.StringIO()
    with matplotlib.rc_context({"path.simplify": False}):
        renderer: Any = RendererSVG(width, height, written, image_dpi=72, metadata={})  # type: ignore[no-untyped-call]
        figure.draw(renderer)
        renderer.finalize()
    return ElementTree.fromstring(written.getvalue())  # noqa: S314 - our own, a line above


def _paths(node: ElementTree.Element, kind: str = "") -> Iterator[str]:
    """The paths below a node, with the class that the innermost artist around each has as its id."""
    for child in node:
        tag, name = child.tag.rpartition("}")[2], child.get("id", "")
        if tag == "path" and kind:
            yield f'<path class="{kind}" d="{short_path(child.get("d", ""))}"/>'
        elif tag == "g":
            yield from _paths(child, name if KINDS.fullmatch(name) else kind)


def short_path(path: str) -> str:
    """A path of straight lines in tenths of a pixel and relative steps: a quarter of the length."""
    out, x, y = [], 0, 0
    for letter, to_x, to_y in re.findall(r"([MLz])(?: (-?[\d.e-]+) (-?[\d.e-]+))?", path):
        if letter == "z":
            out.append("z")
            continue
        new_x, new_y = round(10 * float(to_x)), round(10 * float(to_y))
        if letter == "M":
            out.append(f"M{_tenths(new_x)} {_tenths(new_y)}")
        elif new_y == y:
            out.append(f"h{_tenths(new_x - x)}")
        elif new_x == x:
            out.append(f"v{_tenths(new_y - y)}")
        else:
            out.append(f"l{_tenths(new_x - x)} {_tenths(new_y - y)}")
        x, y = new_x, new_y
    return "".join(out)


def _tenths(number: int) -> str:
    return f"{number / 10:g}"
