"""The drawing of a circuit."""

from __future__ import annotations

from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph


def circuit_svg(circuit: CircuitGraph, most: int = 200) -> str:
    """A circuit as an SVG that needs no other file: a picture, or a part of a page.

    The embedding is at the bottom and the logits on top. The pointer on an edge or a node shows its name and numbers, a
    click keeps them, and leaves the edges of a node alone.

    Args:
        circuit: to draw.
        most: edges to draw, those with the largest scores.

    Raises:
        ValueError: `most` is below 1.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe.introspection import CircuitSearch, PromptPair, circuit_svg, find_circuit
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=300, held_out=False, exact=0))
        >>> drawing = circuit_svg(circuit, most=30)
        >>> drawing.count('<path class="ze ')
        30
        >>> Path("circuit.svg").write_text(drawing) == len(drawing)
        True
    """
    return circuit.drawing(most)
