"""A circuit as a result: its edges with their scores, what it does, and on which model that was measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lazarus_probe.introspection.circuits.circuit_parts import (
    Block,
    CircuitEdge,
    Contrast,
    Count,
    CurvePoint,
    Figure,
    OtherTask,
    Resampled,
    StrictModel,
    Text,
)
from lazarus_probe.introspection.circuits.circuit_runs import Ablation
from lazarus_probe.introspection.circuits.drawing.edge_drawing import edges_svg
from lazarus_probe.introspection.circuits.edges.edge import Edge
from lazarus_probe.introspection.circuits.edges.edge_graph import BlockNodes, EdgeGraph
from lazarus_probe.statistics.student import signed_estimate
from lazarus_probe.tables import Cell, Column, Table

SCHEMA: Literal[1] = 1
MOST_BLOCKS, MOST_NODES, MOST_EDGES, MOST_PROMPTS = 1000, 20_000, 1_000_000, 100_000
DRAWN, LISTED = 200, 20  # edges in a notebook
FEWEST_RANKED = 5  # edges, of which a rank correlation says anything


class CircuitGraph(StrictModel):
    """A circuit of edges, with its measures.

    Attributes:
        schema_version: of the file.
        model: its name.
        fingerprint: of its weights.
        metric: what the circuit is to bring about.
        ablation: what left out edges carry.
        steps: gradients that were averaged for the scores.
        seed: of halves, resampling and random circuits.
        held_out: whether the circuit was measured on other pairs than it was found on.
        found_on: pairs that the scores, and the number of edges, are from.
        measured_on: pairs that all else is from.
        blocks: the nodes of each block of the model.
        edges: of the circuit, by the size of their score.
        clean: the mean of the metric in the model.
        empty: its mean with no edges at all.
        faithfulness: of the circuit.
        without: that of the model without the circuit's edges: 0 where the circuit is complete.
        random: that of random circuits of as many edges.
        curve: faithfulness over the number of edges.
        cpr: the area under that curve over the share of edges.
        cmd: the area between that curve and 1.
        found_again: in resamples of the pairs that it was found on; None of fewer than two groups.
        others: what it does on prompts of other tasks.
        prompts: the pairs that it was found on, which its edges name by their place.

    Example:
        >>> from lazarus_probe.introspection import CircuitGraph, CircuitSearch, PromptPair, find_circuit
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=300, held_out=False, exact=0))
        >>> isinstance(circuit, CircuitGraph), circuit.graph.size, circuit.ablation
        (True, 1405, 'resample')
        >>> {"embed -> L0.KV0.v", "L7.MLP -> logits"} <= {str(edge) for edge in circuit.named()}
        True
    """

    schema_version: Literal[1] = SCHEMA
    model: Text
    fingerprint: Text
    metric: Text
    ablation: Ablation
    steps: Annotated[int, Field(ge=1)]
    seed: int
    held_out: bool
    found_on: Count
    measured_on: Count
    blocks: Annotated[tuple[Block, ...], Field(min_length=1, max_length=MOST_BLOCKS)]
    edges: Annotated[tuple[CircuitEdge, ...], Field(max_length=MOST_EDGES)]
    clean: float
    empty: float
    faithfulness: Figure
    without: Figure
    random: Annotated[tuple[float, ...], Field(max_length=1000)]
    curve: Annotated[tuple[CurvePoint, ...], Field(max_length=1000)]
    cpr: Figure
    cmd: Figure
    found_again: Resampled | None = None
    others: Annotated[tuple[OtherTask, ...], Field(max_length=1000)] = ()
    prompts: Annotated[tuple[Contrast, ...], Field(max_length=MOST_PROMPTS)] = ()

    @model_validator(mode="after")
    def _edges_are_there(self) -> Self:
        heads = sum(block.heads + 1 for block in self.blocks)
        if heads > MOST_NODES:
            raise ValueError(f"the blocks have {heads} heads and MLPs; at most {MOST_NODES} can be read")
        graph = self.graph
        places = {graph.index(edge.name) for edge in self.edges}
        if len(places) != len(self.edges):
            raise ValueError(
                f"{len(self.edges)} edges have {len(places)} different names; list each edge once"
            )
        for edge in self.edges:
            for shown in edge.strongest:
                if shown.pair >= len(self.prompts):
                    raise ValueError(
                        f"edge {edge.name} names pair {shown.pair} of {len(self.prompts)}; count them from 0"
                    )
        return self

    @property
    def graph(self) -> EdgeGraph:
        """All nodes and edges of the model."""
        return EdgeGraph(tuple(BlockNodes(block.heads, block.kv_heads, block.mlp) for block in self.blocks))

    def named(self) -> list[Edge]:
        """The edges of the circuit."""
        return [Edge.parse(edge.name) for edge in self.edges]

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return self.model_dump(mode="json")

    @property
    def rank_correlation(self) -> float | None:
        """Of first-order scores with the exact effects of the edges that were patched; None of fewer than five."""
        exact = [(edge.score.value, edge.effect.value) for edge in self.edges if edge.effect is not None]
        scores, effects = zip(*exact, strict=True) if len(exact) >= FEWEST_RANKED else ((), ())
        if len(set(scores)) < 2 or len(set(effects)) < 2:
            return None
        from scipy.stats import spearmanr  # takes 300 ms

        return float(spearmanr(scores, effects).statistic)

    def summary(self) -> str:
        """What the circuit does, in a few lines."""
        split = (
            f"found on {self.found_on} pairs, measured on {self.measured_on} others"
            if self.held_out
            else f"found and measured on the same {self.measured_on} pairs, which flatters it"
        )
        random = sum(self.random) / len(self.random) if self.random else float("nan")
        ranks = self.rank_correlation
        exact = sum(edge.effect is not None for edge in self.edges)
        lines = list[str]()
        if self.found_again is not None:
            again = self.found_again
            lines.append(
                f"Found again in {again.resamples} resamples of its pairs: {again.overlap} of the edges; "
                f"scores' rank correlation {again.correlation:.2f}"
            )
        if ranks is not None:
            lines.append(f"Scores and exact effects of {exact} edges: rank correlation {ranks:.2f}")
        lines += [
            f"On {other.pairs} pairs of {other.name!r}: faithfulness {other.faithfulness}; random circuits "
            f"{other.random:.2f}"
            for other in self.others
        ]
        return "\n".join(
            [
                f"{len(self.edges)} of {self.graph.size} edges, {split}; left out edges: {self.ablation}",
                f"Metric: {self.clean:+.3f} in the model, {self.empty:+.3f} with no edges",
                f"Faithfulness {self.faithfulness}; random circuits of that size {random:.2f}",
                f"The model without the circuit: {self.without} (0 where it is complete)",
                f"CPR {self.cpr}, CMD {self.cmd}",
                *lines,
            ]
        )

    def table(self, top: int | None = None) -> Table:
        """The edges by the size of their score: all of them, or the `top` largest; shades are those of the drawing."""
        largest = max((abs(edge.score.value) for edge in self.edges), default=0.0) or 1.0
        rows = [
            [
                edge.name,
                Cell(_signed(edge.score), shade=-edge.score.value / largest),
                _signed(edge.effect),
                _signed(edge.loss),
            ]
            for edge in self.edges[:top]
        ]
        columns = [
            Column("Edge", width=24),
            Column("Score", width=24),
            Column("Effect", width=24),
            Column("Loss"),
        ]
        return Table(columns, rows, f"circuit of {self.metric}: {len(self.edges)} edges")

    def curve_table(self) -> Table:
        """Faithfulness over the number of edges."""
        columns = [Column("Edges", "d", 8), Column("Left", "d", 8), Column("Faithfulness")]
        rows = [[point.edges, point.left, str(point.faithfulness)] for point in self.curve]
        return Table(columns, rows, "faithfulness by number of edges")

    def drawing(self, most: int) -> str:
        """The edges with the largest scores, at most so many, as an SVG.

        Raises:
            ValueError: `most` is below 1.
        """
        return edges_svg(self.edges, self.graph, f"{self.model}: {self.metric}", most, self.prompts)

    def _repr_html_(self) -> str:
        return self.drawing(DRAWN) + self.table(LISTED).html() + self.curve_table().html()


def _signed(figure: Figure | None) -> str:
    return "" if figure is None else signed_estimate(figure.value, figure.low, figure.high)
