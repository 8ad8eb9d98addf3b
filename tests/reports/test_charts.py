"""Charts that stand alone: what is drawn, that it is a document with its own colours, and what is refused."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lazarus_probe.reports import curve_chart, grid_chart

SVG = "{http://www.w3.org/2000/svg}"
SCORES = [0.1, 0.4, 0.9]


def texts(chart) -> list[str]:
    """All that is written in a drawing, which is read as a document of XML."""
    return [node.text or "" for node in ElementTree.fromstring(chart.svg).iter(f"{SVG}text")]


def test_curves_have_their_title_axis_and_names():
    """A chart of curves names each at its end, its axis, and its threshold; the first curve is emphasised."""
    chart = curve_chart(
        {"model": [(y, y - 0.1, y + 0.1) for y in SCORES], "bag <of> tokens": SCORES},
        "Accuracy & its control",
        axis="families",
        x=[5, 10, 20],
        threshold=0.7,
    )
    written = texts(chart)
    assert written[0] == "Accuracy & its control"
    assert {"model", "bag <of> tokens", "threshold", "families", "10", "20"} <= set(written)
    kinds = re.findall(r'<path class="([^"]+)"', chart.svg)
    assert kinds.count("l k0") == kinds.count("l k1") == kinds.count("b k0") == 1
    assert "b k1" not in kinds


def test_a_map_has_a_cell_for_each_value_and_names_its_ends():
    """Rows, columns and the values at both ends are written; the strongest cell is of the highest level."""
    values = [[0.0, 0.9, 0.2], [0.1, -0.3, 0.0]]
    chart = grid_chart(values, "Heads", ["L0", "L1"], ["H0", "H1", "H2"], legend="KL")
    written = texts(chart)
    assert {"Heads", "L0", "L1", "H0", "H2"} <= set(written)
    assert "KL: from \N{MINUS SIGN}0.30 (L1, H1) to 0.90 (L0, H1)" in written
    assert re.search(r'<path class="p10" d="M', chart.svg)
    assert re.search(r'<path class="n3" d="M', chart.svg)


@pytest.mark.parametrize("chart", [curve_chart({"a": SCORES}, "t"), grid_chart([SCORES], "t", ["r"], "abc")])
def test_every_class_and_colour_of_a_chart_is_in_it(chart):
    """A chart needs no style sheet of a page: its rules cover its classes, and change nothing outside of it."""
    style = re.search(r"<style>(.*?)</style>", chart.svg, re.DOTALL)[1]
    defined = set(re.findall(r"(--[a-z0-9]+):", style))
    assert set(re.findall(r"var\((--[a-z0-9]+)\)", style)) <= defined
    for names in re.findall(r'<(?:path|text) class="([^"]+)"', chart.svg):
        for name in set(names.split()) - {"p10"}:  # as strong as it is without a rule
            assert re.search(rf"\.{name}\b", style), name
    selectors = re.sub(r"@media[^{]*\{(.*?\})\s*\}", r"\1", style)
    for rule in re.findall(r"([^{}]+)\{[^{}]*\}", selectors):
        assert all(part.strip().startswith(".chart") for part in rule.split(",")), rule


def test_a_chart_is_kept_as_a_file(tmp_path):
    """What a notebook shows is what `save` writes."""
    chart = curve_chart({"a": SCORES}, "t")
    assert chart.save(tmp_path / "a.svg").read_text(encoding="utf-8") == chart._repr_svg_() == chart.svg


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: curve_chart({}, "t"), "no curves to draw: give at least one"),
        (
            lambda: curve_chart({"a": SCORES}, "t", x=[1, 2]),
            r"curve 'a' has shape \(3,\): give one value for each of 2",
        ),
        (lambda: curve_chart({"a": np.ones((3, 2))}, "t"), r"curve 'a' has shape \(3, 2\)"),
        (lambda: curve_chart({"a": [0, np.nan]}, "t"), "curve 'a' is not finite at place 1"),
        (
            lambda: grid_chart([SCORES], "t", ["r"], "ab"),
            r"'t' has shape \(1, 3\): give one for each of 1 rows and 2",
        ),
        (lambda: grid_chart([[0, np.inf]], "t", ["r"], "ab"), "the value at r, b of 't' is inf"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, message):
    """Shapes that do not match and values that are not finite are refused by name."""
    with pytest.raises(ValueError, match=message):
        draw()
