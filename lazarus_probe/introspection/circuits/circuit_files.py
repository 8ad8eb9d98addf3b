"""Circuits in files: JSON with names of edges, ours and those of TransformerLens."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.introspection.circuits.circuit_graph import SCHEMA, CircuitGraph
from lazarus_probe.plain import json_text
from lazarus_probe.spelling import in_a_line

MOST_BYTES = 100_000_000


def write_circuit(circuit: CircuitGraph, path: str | Path) -> None:
    """Write a circuit to a JSON file, whole or not at all.

    Raises:
        OSError: it cannot be written; a previous file is unchanged.

    Example:
        >>> from lazarus_probe.introspection import CircuitSearch, PromptPair, find_circuit, write_circuit
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=300, held_out=False, exact=0))
        >>> write_circuit(circuit, "circuit.json")
    """
    write_whole(Path(path), json_text(circuit.as_data()) + "\n")


def read_circuit(path: str | Path) -> CircuitGraph:
    """The circuit in a file; what a command adds about its run is left out.

    Raises:
        OSError: it cannot be read, or is larger than `MOST_BYTES`.
        ValueError: it holds none, edges that its model does not have, numbers that are not finite, or was written by a
            newer version; the message names what is wrong.

    Example:
        >>> from lazarus_probe.introspection import CircuitSearch, PromptPair, find_circuit
        >>> from lazarus_probe.introspection import read_circuit, write_circuit
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=300, held_out=False, exact=0))
        >>> write_circuit(circuit, "circuit.json")
        >>> read_circuit("circuit.json") == circuit
        True
    """
    try:
        document = read_json(path, MOST_BYTES)
    except ValueError as error:
        raise ValueError(f"{path} is no circuit: {' '.join(str(error).split())}") from None
    if isinstance(document, dict):
        document.pop("about", None)
    written = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(written, int) and written > SCHEMA:
        raise ValueError(
            f"circuit {path} has schema {written}, this version reads up to {SCHEMA}: update lazarus_probe"
        )
    try:
        return CircuitGraph.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{path} is no circuit: {in_a_line(error.errors()[0], 'the file')}") from None
