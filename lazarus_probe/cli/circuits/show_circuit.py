"""`lazarus introspect show-circuit`: a saved circuit by block, as a drawing, or as a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.files.whole_files import write_whole

if TYPE_CHECKING:
    from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph
    from lazarus_probe.introspection.circuits.circuit_overlap import CircuitOverlap
    from lazarus_probe.introspection.circuits.circuit_parts import CircuitEdge


def show_circuit(
    file: Annotated[Path, typer.Argument(help="A circuit that find-circuit saved with -o.")],
    top: Annotated[int, typer.Option(min=1, help="Edges to show for each block that reads.")] = 5,
    beside: Annotated[
        Path | None, typer.Option(help="Another circuit of the same model, to show what both share.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the drawing to this .svg file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with drawing, edges and curve to this .html file.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, max=5000, help="Edges to draw, those with the largest scores.")
    ] = 200,
    as_json: AsJson = False,
) -> None:
    """Show a saved circuit: for each block who writes into it, and on request a drawing or a page.

    Drawing and page need no network and run no script: the pointer on an edge or a node shows its numbers, a click
    keeps them and leaves the edges of a node alone.
    """
    check_output(svg, "--svg", ".svg")
    check_output(html, "--html", ".html")
    from lazarus_probe.introspection.circuits.circuit_files import read_circuit

    circuit = read_circuit(file)
    overlap = None
    if beside is not None:
        from lazarus_probe.introspection.circuits.circuit_overlap import circuit_overlap

        overlap = circuit_overlap(circuit, read_circuit(beside))
    # Before anything is printed: a pipe that closes early, as to `head`, would end the command.
    if svg is not None:
        write_whole(svg, circuit.drawing(most) + "\n")
    if html is not None:
        from lazarus_probe.reports.circuit_page import circuit_html

        write_whole(html, circuit_html(circuit, most) + "\n")
    text = as_text(circuit, top)
    data = circuit.as_data()
    if overlap is not None and beside is not None:
        text += f"\n\n{overlap_text(overlap, beside)}"
        data |= {"beside": {"circuit": beside.name, **asdict(overlap)}}
    deliver(data, text, as_json=as_json)
    for saved in (svg, html):
        if saved is not None:
            typer.echo(f"Saved to: {saved}", err=as_json)


def as_text(circuit: CircuitGraph, top: int) -> str:
    """The summary, and for each block, from the logits down, the strongest edges into it."""
    from lazarus_probe.introspection.circuits.drawing.edge_drawing import by_size
    from lazarus_probe.introspection.circuits.edges.edge import Edge
    from lazarus_probe.statistics.student import signed_estimate
    from lazarus_probe.tables import Column, Table
    from lazarus_probe.untrusted import in_line

    into: dict[int, list[tuple[Edge, CircuitEdge]]] = {}
    for entry in by_size(circuit.edges):
        edge = Edge.parse(entry.name)
        layer = len(circuit.blocks) if edge.receiver.layer is None else edge.receiver.layer
        into.setdefault(layer, []).append((edge, entry))
    rows = list[list[str]]()
    for _, edges in sorted(into.items(), reverse=True):
        for number, (edge, entry) in enumerate(edges[:top]):
            block, _, reads = str(edge.receiver).partition(".")
            score, effect = (
                "" if figure is None else signed_estimate(figure.value, figure.low, figure.high)
                for figure in (entry.score, entry.effect)
            )
            rows.append(["" if number else block, reads, str(edge.sender), score, effect])
        if len(edges) > top:
            rows.append(["", "", f"and {len(edges) - top} more", "", ""])
    columns = ("Block", "Reads", "Written by", Column("Score", width=24), "Effect")
    return "\n".join(
        [
            title(f"CIRCUIT: {in_line(circuit.model)}, {in_line(circuit.metric)}"),
            circuit.summary(),
            "",
            Table(columns, rows).text(),
            "\nScore: the change of the metric if the edge is corrupted, to first order; effect: exactly. "
            "Below 0 the edge\ncarries the metric, above 0 it works against it.",
        ]
    )


def overlap_text(overlap: CircuitOverlap, beside: Path) -> str:
    """What two circuits share, and what random ones of the other's shape would."""
    from lazarus_probe.untrusted import in_line

    lines = [
        f"Compared with {in_line(beside.name)}; by chance: random circuits with its edges between every two blocks"
    ]
    for name, shared in (("edges", overlap.edges), ("heads that write", overlap.heads)):
        lines.append(
            f"{shared.both} of {shared.first} {name} are among its {shared.second}; by chance {shared.random:.1f}, "
            f"p = {shared.p:.3f}"
        )
    return "\n".join(lines)
