"""Circuits from elsewhere: lists of edges as text or JSON, in our names or in those of other tools."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text
from lazarus_probe.introspection.circuits.circuit_files import MOST_BYTES, read_circuit
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph, Flags
from lazarus_probe.introspection.circuits.edges.edge_names import named_edges

ENDS = ("sender_hook", "sender_head", "receiver_hook", "receiver_head")
MARKS = ("score", "in_graph")


@dataclass(frozen=True)
class _Listed:
    """An edge as a file lists it: where, and the names of its ends."""

    where: str
    sender: str
    receiver: str

    @classmethod
    def named(cls, where: str, name: str) -> _Listed:
        sender, arrow, receiver = name.partition("->")
        if not arrow:
            raise ValueError(f"{where}: {name[:100]!r} is no edge; write it as in 'L3.H2 -> L7.H1.q'")
        return cls(where, sender.strip(), receiver.strip())


def read_edges(path: str | Path, graph: EdgeGraph) -> Flags:
    """(E,) which edges of a model a file lists.

    The file is a circuit of `write_circuit`; text with an edge a line, `#` before remarks; a graph that EAP-IG saved as
    JSON, of which the edges that are `in_graph` count; a JSON object of edges and whether each is in; or a JSON list of
    edges, of pairs of ends, or of objects with `sender_hook`, `sender_head`, `receiver_hook` and `receiver_head`.

    Edges and ends have our names, or those of EAP-IG, auto-circuit, ACDC or TransformerLens. These name keys and values
    by a query head; where heads share them, that is the edge of their key-value head.

    Args:
        path: of the file.
        graph: nodes and edges of the model, as in `CircuitGraph.graph`.

    Raises:
        OSError: it cannot be read, or is larger than 100 MB.
        ValueError: it lists no edges, one twice, one that the model does not have or that runs backwards, or a score
            that is not finite; it is of another model. The message names the line or entry, and what would be right.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe.introspection import CircuitSearch, PromptPair, find_circuit, read_edges
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=300, held_out=False, exact=0))
        >>> published = ["L7.MLP -> logits", "a7.h1->m7  # as EAP-IG writes it", "A0.1->A1.0.K  # auto-circuit"]
        >>> with Path("published.txt").open("w") as file:
        ...     print(*published, sep=chr(10), file=file)
        >>> kept = read_edges("published.txt", circuit.graph)
        >>> [str(edge) for edge in circuit.graph.named(kept)]
        ['L0.H1 -> L1.KV0.k', 'L7.H1 -> L7.MLP', 'L7.MLP -> logits']
    """
    try:
        text = read_text(path, MOST_BYTES)
        if not text.lstrip().startswith(("{", "[")):
            return _flags(_of_lines(text), graph)
        document = parse_json(text, once=True)
        if isinstance(document, dict) and "blocks" in document:
            return _of_circuit(path, graph)
        return _flags(_of_json(document, graph), graph)
    except ValueError as error:
        message = " ".join(str(error).split())
        raise ValueError(
            message if message.startswith(f"{path}") else f"edges of {path}: {message}"
        ) from None


def _flags(listed: Iterator[_Listed], graph: EdgeGraph) -> Flags:
    kept, seen = np.zeros(graph.size, dtype=bool), dict[tuple[str, str], str]()
    for edge in listed:
        first = seen.setdefault((edge.sender, edge.receiver), edge.where)
        name = f"{edge.sender} -> {edge.receiver}"[:200]
        if first != edge.where:
            raise ValueError(f"{edge.where}: {name!r} is {first} again; list each edge once")
        try:
            kept[named_edges(edge.sender, edge.receiver, graph)] = True
        except ValueError as error:
            raise ValueError(f"{edge.where}: {error}") from None
    if not kept.any():
        raise ValueError("it lists no edges; write one a line, as in 'L3.H2 -> L7.H1.q'")
    return kept


def _of_lines(text: str) -> Iterator[_Listed]:
    for number, line in enumerate(text.split("\n"), 1):
        if name := line.partition("#")[0].strip():
            yield _Listed.named(f"line {number}", name)


def _of_circuit(path: str | Path, graph: EdgeGraph) -> Flags:
    circuit = read_circuit(path)
    if circuit.graph != graph:
        raise ValueError(
            f"the circuit is of a model with {_described(circuit.graph)}, this one has {_described(graph)}; give a "
            "circuit of this model"
        )
    if not circuit.edges:
        raise ValueError("the circuit has no edges; give one that has some")
    return graph.flags(edge.name for edge in circuit.edges)


def _described(graph: EdgeGraph) -> str:
    """The nodes of a model; blocks that differ from the one below are told apart."""
    changes = [
        (layer, block)
        for layer, block in enumerate(graph.blocks)
        if not layer or block != graph.blocks[layer - 1]
    ]
    blocks = [
        f"{block.heads} heads, {block.kv_heads} key-value heads and {'an' if block.mlp else 'no'} MLP"
        + (f" from block {layer} on" if layer else "")
        for layer, block in changes[:3]
    ]
    return f"{len(graph.blocks)} blocks of {', '.join(blocks)}" + (", ..." if len(changes) > 3 else "")


def _of_json(document: Any, graph: EdgeGraph) -> Iterator[_Listed]:
    if isinstance(document, dict) and "edges" in document:
        _check_model(document.get("cfg"), graph)
        _check_nodes(document.get("nodes"))
        document = document["edges"]
    if isinstance(document, dict):
        for name, mark in document.items():
            where = f"edge {name[:100]!r}"
            if listed := _Listed.named(where, name) if _is_in(where, mark) else None:
                yield listed
    elif isinstance(document, list):
        for number, entry in enumerate(document, 1):
            yield from _of_entry(f"entry {number}", entry)
    else:
        raise ValueError(f"its edges are {document!r:.100}; give a list or an object of them")


def _is_in(where: str, mark: Any) -> bool:
    """Whether a mark says that an edge is in the circuit."""
    if isinstance(mark, dict):
        _check_score(where, mark.get("score"))
        mark = mark.get("in_graph")
    if not isinstance(mark, bool):
        raise ValueError(
            f"{where} has {mark!r:.100} for in_graph; true or false is needed: a score alone is no choice"
        )
    return mark


def _check_score(where: str, score: Any) -> None:
    number = isinstance(score, int | float) and not isinstance(score, bool)
    if score is not None and not (number and math.isfinite(score)):
        raise ValueError(f"{where} has the score {score!r:.100}; a finite number is needed")


def _of_entry(where: str, entry: Any) -> Iterator[_Listed]:
    if isinstance(entry, str):
        yield _Listed.named(where, entry)
    elif isinstance(entry, list) and len(entry) == 2 and all(isinstance(end, str) for end in entry):
        yield _Listed(where, entry[0].strip(), entry[1].strip())
    elif isinstance(entry, dict) and {"sender_hook", "receiver_hook"} <= entry.keys() <= {*ENDS, *MARKS}:
        _check_score(where, entry.get("score"))
        if _is_in(where, entry.get("in_graph", True)):
            yield _Listed(where, _end(where, entry, "sender"), _end(where, entry, "receiver"))
    else:
        raise ValueError(
            f"{where} is {entry!r:.100}; give a name as 'L3.H2 -> L7.H1.q', a pair of ends, or an object with "
            f"{', '.join(ENDS)}"
        )


def _end(where: str, entry: dict[str, Any], side: str) -> str:
    hook, head = entry[f"{side}_hook"], entry.get(f"{side}_head")
    if not isinstance(hook, str):
        raise ValueError(
            f"{where} has {hook!r:.100} for {side}_hook; give a hook, as in blocks.3.attn.hook_result"
        )
    if head is not None and (isinstance(head, bool) or not isinstance(head, int)):
        raise ValueError(f"{where} has {head!r:.100} for {side}_head; give the number of a head, or null")
    return hook if head is None else f"{hook}.{head}"


def _check_model(cfg: Any, graph: EdgeGraph) -> None:
    """That the configuration beside the edges is of this model, as far as it says."""
    if cfg is None:
        return
    if not isinstance(cfg, dict):
        raise ValueError(f"cfg is {cfg!r:.100}; give an object with n_layers and n_heads")
    heads = {block.heads for block in graph.blocks}
    for name, here in (("n_layers", {len(graph.blocks)}), ("n_heads", heads)):
        if name in cfg and {repr(cfg[name])} != set(map(repr, here)):
            known = " or ".join(map(str, sorted(here)))
            raise ValueError(f"it is of a model with {name} {cfg[name]!r:.100}, this one has {known}")
    shared = cfg.get("n_key_value_heads")
    if shared is not None and shared != cfg.get("n_heads"):
        raise ValueError(
            f"cfg has {shared!r:.100} for n_key_value_heads, so its inputs of keys and values may be numbered by these "
            "or by query heads; list the edges in our names, as in 'L3.H2 -> L7.KV1.k'"
        )


def _check_nodes(nodes: Sequence[Any] | dict[str, Any] | None) -> None:
    """That whole nodes are in the circuit, not some of their neurons."""
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        neurons = node.get("neurons") if isinstance(node, dict) else None
        if neurons is not None and not (isinstance(neurons, list) and all(neurons)):
            raise ValueError(
                f"node {name[:100]!r} is in with some of its neurons; give a circuit of whole edges"
            )
