"""Names that other tools give to the ends of edges, as senders and receivers of ours.

EAP-IG (github.com/hannamw/EAP-IG) writes `a3.h2->m5` and `input->a0.h0<q>`; auto-circuit
(github.com/UFO-101/auto-circuit) `A3.2->MLP 5`, `A3.2->A7.1.Q` and `Resid Start->Resid End`; ACDC and TransformerLens
name a hook and the index of a head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lazarus_probe.introspection.circuits.edges.edge import (
    NAMED_RECEIVERS,
    NAMED_SENDERS,
    Edge,
    Receiver,
    Sender,
)
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph
from lazarus_probe.spelling import nearest

LONGEST = 100
EMBED = ("embed", "input", "Resid Start", "hook_embed", "blocks.0.hook_resid_pre")
LOGITS = ("logits", "Resid End")
SENT_BY_HEAD = re.compile(r"(?:L(\d+)\.H|a(\d+)\.h|A(\d+)\.|blocks\.(\d+)\.attn\.hook_result\.)(\d+)")
SENT_BY_MLP = re.compile(r"L(\d+)\.MLP|m(\d+)|MLP (\d+)|blocks\.(\d+)\.hook_mlp_out")
READ_BY_MLP = re.compile(r"L(\d+)\.MLP|m(\d+)|MLP (\d+)|blocks\.(\d+)\.hook_mlp_in")
OWN = re.compile(r"L(\d+)\.(?:H(\d+)\.(q)|KV(\d+)\.([kv]))")
READ_BY_HEAD = (
    re.compile(r"a(?P<layer>\d+)\.h(?P<head>\d+)<(?P<reads>[qkv])>"),
    re.compile(r"A(?P<layer>\d+)\.(?P<head>\d+)(?:\.(?P<reads>[QKV]))?"),
    re.compile(r"blocks\.(?P<layer>\d+)\.hook_(?:attn_in|(?P<reads>[qkv])_input)\.(?P<head>\d+)"),
)
INDEX = re.compile(r"\[:, :, (\d+)\]$")  # as ACDC prints that of a head


def named_edges(sender: str, receiver: str, graph: EdgeGraph) -> list[int]:
    """Indices of the edges of a model between two ends that are named as we do, or as another tool does.

    Other tools name keys and values by a query head; where heads share them, the edge is that of their key-value head.
    One that takes the three inputs of a head for one (`A7.1`, `hook_attn_in`) means three edges.

    Raises:
        ValueError: a name that is none, with the nearest one; a node that the model does not have; an edge that runs
            backwards.
    """
    sent, read = _sender(sender), _receivers(receiver, graph)
    if sent is None:
        raise ValueError(
            f"{_short(sender)!r} is no sender; {_instead(sender, _senders(sender, graph), NAMED_SENDERS)}"
        )
    if not read:
        close = _instead(receiver, _readers(receiver, graph), NAMED_RECEIVERS)
        raise ValueError(f"{_short(receiver)!r} is no receiver; {close}")
    return [graph.index(Edge(sent, receiver)) for receiver in read]


def _sender(name: str) -> Sender | None:
    plain = INDEX.sub(r".\1", name) if len(name) <= LONGEST else ""
    if plain in EMBED:
        return Sender()
    if match := SENT_BY_HEAD.fullmatch(plain):
        return Sender(_number(match.groups()[:-1]), int(match[5]))
    return Sender(_number(match.groups())) if (match := SENT_BY_MLP.fullmatch(plain)) else None


def _receivers(name: str, graph: EdgeGraph) -> list[Receiver]:
    """What a name reads; nothing where it is none."""
    plain = INDEX.sub(r".\1", name) if len(name) <= LONGEST else ""
    if plain in (*LOGITS, _end(graph)):
        return [Receiver("logits")]
    if match := READ_BY_MLP.fullmatch(plain):
        return [Receiver("mlp", _number(match.groups()))]
    if OWN.fullmatch(plain):
        return [Receiver.parse(plain)]
    for pattern in READ_BY_HEAD:
        if match := pattern.fullmatch(plain):
            steps = (match["reads"] or "qkv").lower()
            return [_of_head(int(match["layer"]), int(match["head"]), step, graph) for step in steps]
    return []


def _of_head(layer: int, head: int, step: str, graph: EdgeGraph) -> Receiver:
    """What a query head reads; its keys and values are those of the key-value head that it shares."""
    if layer >= len(graph.blocks) or step == "q":
        return Receiver(step, layer, head)
    block = graph.blocks[layer]
    if head >= block.heads:
        raise ValueError(
            f"the model has no head {head} in block {layer}; its heads are 0 to {block.heads - 1}"
        )
    return Receiver(step, layer, head // (block.heads // block.kv_heads))


def _number(groups: tuple[str | None, ...]) -> int:
    return next(int(group) for group in groups if group is not None)


def _end(graph: EdgeGraph) -> str:
    return Receiver("logits").hook(len(graph.blocks))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}..."


def _instead(name: str, names: Iterator[str], forms: str) -> str:
    close = nearest(_short(name), names)
    guess = f"did you mean {close!r}? " if close else ""
    return f"{guess}write {forms}, or the same in the names of another tool"


def _near(name: str, graph: EdgeGraph) -> list[int]:
    """Blocks whose number is in a name; else the first one."""
    numbers = {int(number) for number in re.findall(r"\d+", _short(name))}
    return [layer for layer in range(len(graph.blocks)) if layer in numbers] or [0]


def _senders(name: str, graph: EdgeGraph) -> Iterator[str]:
    """All names of senders in the blocks that a name may mean."""
    yield from EMBED
    for layer in _near(name, graph):
        for head in range(graph.blocks[layer].heads):
            yield from (f"L{layer}.H{head}", f"a{layer}.h{head}", f"A{layer}.{head}")
            yield f"blocks.{layer}.attn.hook_result.{head}"
        if graph.blocks[layer].mlp:
            yield from (f"L{layer}.MLP", f"m{layer}", f"MLP {layer}", f"blocks.{layer}.hook_mlp_out")


def _readers(name: str, graph: EdgeGraph) -> Iterator[str]:
    """All names of receivers in the blocks that a name may mean."""
    yield from (*LOGITS, _end(graph))
    for layer in _near(name, graph):
        block = graph.blocks[layer]
        yield from (f"L{layer}.KV{head}.{step}" for head in range(block.kv_heads) for step in "kv")
        yield from (f"L{layer}.H{head}.q" for head in range(block.heads))
        for head in range(block.heads):
            for step in "qkv":
                yield from (f"a{layer}.h{head}<{step}>", f"A{layer}.{head}.{step.upper()}")
                yield f"blocks.{layer}.hook_{step}_input.{head}"
        if block.mlp:
            yield from (f"L{layer}.MLP", f"m{layer}", f"MLP {layer}", f"blocks.{layer}.hook_mlp_in")
