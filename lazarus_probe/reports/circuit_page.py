"""A circuit as one HTML file: its drawing, its edges and its curve, without scripts, and with nothing fetched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup

from lazarus_probe.introspection.circuits.drawing.edge_drawing import by_size
from lazarus_probe.reports.page import asset, policy_hash, templates

if TYPE_CHECKING:
    from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph

LISTED = 1000


def circuit_html(circuit: CircuitGraph, most: int = 200) -> str:
    """A circuit as a page; a click on an edge of the table shows it in the drawing, as one on the edge itself.

    Args:
        circuit: to show.
        most: edges to draw, those with the largest scores; the table has up to a thousand.

    Raises:
        ValueError: `most` is below 1.
    """
    drawing, css = circuit.drawing(most), asset("style.css")
    mark, style = (
        re.findall(r' id="(\w+)"', drawing)[0],
        re.findall(r"<style>(.*?)</style>", drawing, re.DOTALL)[0],
    )
    ordered = circuit.model_copy(update={"edges": tuple(by_size(circuit.edges))})
    return templates().get_template("circuit.html.j2").render(
        circuit=circuit, summary=circuit.summary().split("\n"), css=css, mark=mark,
        drawing=Markup(drawing),  # noqa: S704 - every text in it is escaped
        hashes=[policy_hash(css), policy_hash(style)],
        edges=ordered.table(LISTED), curve=circuit.curve_table(), drawn=min(most, len(circuit.edges)),
    )  # fmt: skip
