"""The drawing of a circuit that a claim was about, from the details of its measurement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from markupsafe import Markup
from pydantic import BaseModel, Field, ValidationError

from lazarus_probe.introspection.circuits.circuit_parts import Block, CircuitEdge, Contrast, PairScore, Text
from lazarus_probe.introspection.circuits.circuit_parts import Figure as Number
from lazarus_probe.introspection.circuits.drawing.edge_drawing import edges_svg
from lazarus_probe.introspection.circuits.edges.edge import Edge
from lazarus_probe.introspection.circuits.edges.edge_graph import BlockNodes, EdgeGraph

DETAIL = "circuit"


class _Drawn(BaseModel):
    """What a measurement keeps of its circuit; a run may come from elsewhere."""

    blocks: Annotated[list[tuple[int, int, bool]], Field(min_length=1, max_length=200)]
    edges: Annotated[list[tuple[Text, float, float, float]], Field(min_length=1, max_length=200)]
    prompts: Annotated[list[tuple[Text, Text]], Field(max_length=1000)] = []
    strongest: Annotated[list[list[tuple[int, float]]], Field(max_length=200)] = []


def circuit_figure(details: Mapping[str, Any], title: str) -> tuple[Markup, str] | None:
    """The drawing of a circuit, and its style rules; None where the details have none that can be drawn."""
    try:
        drawn = _Drawn.model_validate(details[DETAIL])
        blocks = [Block(heads=heads, kv_heads=shared, mlp=mlp) for heads, shared, mlp in drawn.blocks]
        graph = EdgeGraph(tuple(BlockNodes(block.heads, block.kv_heads, block.mlp) for block in blocks))
        prompts = [Contrast(clean=clean, corrupted=corrupted) for clean, corrupted in drawn.prompts]
        edges = [_edge(drawn, row, graph) for row in range(len(drawn.edges))]
    except (KeyError, ValidationError, ValueError):
        return None
    svg = edges_svg(edges, graph, title, len(edges), prompts)
    style = re.findall(r"<style>(.*?)</style>", svg, re.DOTALL)[0]
    return Markup(svg), style  # noqa: S704 - every text in it is escaped


def _edge(drawn: _Drawn, row: int, graph: EdgeGraph) -> CircuitEdge:
    name, value, low, high = drawn.edges[row]
    edge = Edge.parse(name)
    graph.index(edge)
    strongest = drawn.strongest[row] if row < len(drawn.strongest) else []
    return CircuitEdge(
        name=str(edge),
        sender_hook=edge.sender.hook,
        receiver_hook=edge.receiver.hook(len(graph.blocks)),
        score=Number(value=value, low=low, high=high),
        strongest=tuple(
            PairScore(pair=pair, score=own) for pair, own in strongest if pair < len(drawn.prompts)
        ),
    )
