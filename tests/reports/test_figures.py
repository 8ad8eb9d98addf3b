from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from lazarus_probe.claims.record import CurveRecord, GridRecord
from lazarus_probe.reports.figures import CELL_HEIGHT, curve_figure, extremes, grid_figure, levels, short_path


def curve(name: str = "score", y: tuple[float, ...] = (0.1, 0.5, 0.9), **changes: object) -> CurveRecord:
    fields = {"x": list(range(len(y))), "low": None, "high": None, "axis": "layer"}
    return CurveRecord(**{"name": name, "y": list(y), **fields, **changes})


def grid(values: np.ndarray, **changes: object) -> GridRecord:
    rows, columns = ([f"{letter}{i}" for i in range(n)] for letter, n in zip("Lp", values.shape, strict=True))
    return GridRecord(**{"name": "g", "rows": rows, "columns": columns, "values": values.tolist(), **changes})


def points(path: str) -> list[tuple[float, float]]:
    """The corners of a path of relative steps, walked one by one."""
    x, y, out = 0.0, 0.0, []
    for letter, numbers in re.findall(r"([Mhvlz])([^Mhvlz]*)", path):
        given = [float(number) for number in numbers.split()]
        if letter == "M":
            x, y = given
        elif letter != "z":
            x += given[0] if letter in "hl" else 0
            y += given[-1] if letter in "vl" else 0
        if letter != "z":
            out.append((x, y))
    return out


def drawn(svg: str, kind: str) -> list[str]:
    return [node.get("d", "") for node in ElementTree.fromstring(svg) if node.get("class") == kind]


def test_a_curve_is_drawn_where_its_scores_are():
    """Each score lies as far between the lines of 0 and 1 as it says, and layers are evenly apart."""
    svg = curve_figure([curve(y=(0.1, 0.5, 0.9, 0.25))], [0.5], "t")
    zero, half, one = sorted((points(path)[0][1] for path in drawn(svg, "g")), reverse=True)
    line = points(drawn(svg, "l k0")[0])
    assert [(zero - y) / (zero - one) for _, y in line] == pytest.approx([0.1, 0.5, 0.9, 0.25], abs=2e-3)
    assert np.ptp([right - left for (left, _), (right, _) in pairwise(line)]) < 0.11
    assert points(drawn(svg, "t")[0])[0][1] == half


def test_only_a_score_is_emphasised():
    """Where no curve is the score none has its class, and more curves than there are colours take turns."""
    both = [curve_figure([curve()] * 9, [], "t", emphasised=emphasised) for emphasised in (True, False)]
    lines = [re.findall(r'class="l (k\d)"', svg)[::-1] for svg in both]
    assert lines[0] == ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k1", "k2"]
    assert lines[1] == ["k1", "k2", "k3", "k4", "k5", "k6", "k1", "k2", "k3"]


def test_a_band_holds_its_curve():
    """The interval is drawn from its lower to its upper ends, whatever the order of the layers."""
    y = (0.2, 0.4, 0.6)
    low, high = [v - 0.1 for v in y], [v + 0.2 for v in y]
    straight = curve_figure([curve(y=y, low=low, high=high)], [], "t")
    turned = {name: list(values)[::-1] for name, values in {"x": range(3), "low": low, "high": high}.items()}
    assert curve_figure([curve(y=y[::-1], **turned)], [], "t") == straight
    corners, line = points(drawn(straight, "b k0")[0]), points(drawn(straight, "l k0")[0])
    for x, middle in line:
        ends = [height for at, height in corners if abs(at - x) < 0.15]
        assert min(ends) < middle < max(ends)


def test_each_curve_is_named_at_its_end():
    """A name has its curve's colour, stands where that ends, and no two names lie on each other."""
    named = {"score": 0.9, "bag_of_tokens": 0.2, "untrained": 0.19, "shuffled_labels": 0.18}
    svg = curve_figure([curve(name, y=(0.5, end)) for name, end in named.items()], [0.5], "t")
    texts = {
        node.text: (node.get("class"), float(node.get("y")))
        for node in ElementTree.fromstring(svg)
        if (node.get("class") or "").startswith("s ")
    }
    assert {name: kind for name, (kind, _) in texts.items()} == {
        "score": "s k0", "bag_of_tokens": "s k1", "untrained": "s k2", "shuffled_labels": "s k3", "threshold": "s bar",
    }  # fmt: skip
    heights = sorted(place for _, place in texts.values())
    assert min(below - above for above, below in pairwise(heights)) >= 10
    ends = {
        path.get("class"): points(path.get("d"))[-1][1]
        for path in ElementTree.fromstring(svg)
        if "l " in path.get("class", "")
    }
    assert texts["score"][1] == pytest.approx(ends["l k0"] + 3.5, abs=0.2)
    assert sorted(named, key=lambda name: texts[name][1]) == sorted(named, key=lambda name: -named[name])


def test_a_grid_shows_every_value():
    """Each cell has the colour of its own level, and of its own sign; none is left out or drawn twice."""
    values = np.random.default_rng(0).normal(size=(7, 12))
    shown = grid_figure(grid(values), "t")
    expected = np.round(10 * values / np.abs(values).max()).astype(int)
    found = np.full(values.shape, 99)
    strokes = [
        (int(node.get("class")[1:]) * (-1 if node.get("class")[0] == "n" else 1), points(f"M{stroke}"))
        for node in ElementTree.fromstring(shown)
        if node.get("d")
        for stroke in node.get("d").split("M")[1:]
    ]
    left = min(start for _, ((start, _), _) in strokes)
    wide = min(end - start for _, ((start, _), (end, _)) in strokes)
    for level, ((start, y), (end, _)) in strokes:
        row = round((y - 4 - CELL_HEIGHT / 2) / CELL_HEIGHT)
        cells = found[row, round((start - left) / wide) : round((end - left) / wide)]
        assert (cells == 99).all()
        cells[:] = level
    np.testing.assert_array_equal(found, expected)
    assert levels(grid(values)) == expected.tolist()


def test_names_in_a_figure_stay_text(hostile):
    """Tokens with markup, mathematics, glyphs that no font has or a turn of direction are shown as they are."""
    names = [hostile, "$\\frac{", "日", "\u202eab", "😀", "a&b"]
    svg = grid_figure(grid(np.eye(6), columns=names), hostile)
    texts = [node.text for node in ElementTree.fromstring(svg) if node.tag == "text"]
    assert texts[6:] == [hostile[:12], "$\\frac{", "日", "\\u202eab", "😀", "a&b"]
    assert {node.tag for node in ElementTree.fromstring(svg)} == {"title", "path", "text"}


def test_figures_hold_nothing_but_shapes_and_texts():
    """No style, id, script or address: a page with a strict policy shows them, however many there are."""
    both = curve_figure([curve()], [0.5], "t") + grid_figure(grid(np.eye(3)), "t")
    attributes = {name for node in ElementTree.fromstring(f"<a>{both}</a>").iter() for name in node.attrib}
    shapes = {"class", "viewBox", "width", "height", "role", "d", "x", "y", "transform"}
    assert attributes <= shapes | {"data-box", "data-rows", "data-columns", "data-values"}


def test_a_large_map_stays_small():
    """A map of 32 layers and 40 positions takes no more than 30 KB, and says where its extremes are."""
    values = np.random.default_rng(0).uniform(size=(32, 40))
    assert len(grid_figure(grid(values), "t")) < 30_000
    least, most = extremes(grid(values))
    assert least == (
        values.min(),
        *(f"{a}{i}" for a, i in zip("Lp", divmod(values.argmin(), 40), strict=True)),
    )
    assert most[0] == values.max()


@pytest.mark.parametrize(
    ("axis", "x", "names"),
    [
        ("layer", (-1.0, 0.0, 1.0), ["embed", "0", "1", "layer"]),
        ("strength", (-1.0, 0.0, 1.0), ["-1", "0", "1", "strength"]),
        ("share", (0.0, 0.25, 0.5), ["0", "0.2", "0.4", "share"]),
    ],
)
def test_places_are_named(axis, x, names):
    """Layer -1 is the embedding; on another axis numbers are what they are, whole or not."""
    svg = curve_figure([curve(x=list(x), axis=axis)], [], "t")
    texts = [node.text for node in ElementTree.fromstring(svg) if node.get("class") == "m"]
    assert texts == names


@pytest.mark.parametrize("y", [(0.5,), (0.0, 0.0), (-40.0, 0.3), (5.0, 1e6), (1e-9, -1e-9)])
def test_odd_curves_are_drawn(y):
    """One place, no spread or scores far below 0 still make a figure of finite numbers within its frame."""
    svg = curve_figure([curve(y=y, low=[v - 1 for v in y], high=[v + 1 for v in y])], [0.9, -0.9], "t")
    for path in re.findall(r' d="([^"]+)"', svg):
        assert all(0 <= x <= 361 and 0 <= height <= 191 for x, height in points(path))


@pytest.mark.parametrize("values", [np.zeros((1, 1)), np.full((2, 3), -1.0), np.ones((1, 300))])
def test_odd_maps_are_drawn(values):
    """A single cell, one value everywhere, and more columns than there is room for names."""
    texts = [
        node.text for node in ElementTree.fromstring(grid_figure(grid(values), "t")) if node.tag == "text"
    ]
    assert len(texts) <= len(values) + 64


def test_short_paths_keep_their_corners():
    """A path in relative tenths has the corners of the path in absolute decimals, to a twentieth of a pixel."""
    corners = np.random.default_rng(1).uniform(0, 300, size=(40, 2)).round(6)
    corners[5, 0], corners[9, 1] = corners[4, 0], corners[8, 1]
    long = "M " + " \nL ".join(f"{x} {y}" for x, y in corners) + " \nz"
    np.testing.assert_allclose(points(short_path(long)), corners, atol=0.0501)
    assert len(short_path(long)) < 0.6 * len(long)
