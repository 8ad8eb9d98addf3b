"""What exact effects of edges cost here and with hooks on transformers; a script, with --edges and --rounds.

One process, one thread, float32, the same random Llama, edges and prompts on both sides, runs in turn, median CPU time.
Nothing is timed before both agree on the effects. `pip install 'lazarus_probe[torch]'` brings the other side.

    python tests/benchmarks/edge_peers.py --edges 64
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np
from engines import TOKENS, VOCABULARY, Size
from peers import MEDIUM, SMALL, difference, seconds
from rich.console import Console
from rich.table import Table
from torch_engines import random_model

from lazarus_probe import Subject
from lazarus_probe.introspection.circuits.edge_patching import edge_effects
from lazarus_probe.introspection.circuits.edges.edge import Edge, Receiver
from lazarus_probe.introspection.circuits.pair_sets import pair_set
from lazarus_probe.sweep import logit_diff

DEEP = Size("deep", layers=30, width=576, heads=9, kv_heads=3, mlp=1536, length=16)  # SmolLM2-135M's shape
SIZES = (SMALL, MEDIUM, DEEP)
PAIRS = 2
TOKENS_AT_ONCE = 2048  # as here
TOLERANCE = 1e-3  # of the largest effect: effects are small differences of logits

Tokens = np.ndarray[Any, Any]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--edges", type=int, default=64, help="drawn at random (default: 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", choices=[size.name for size in SIZES], help="one of the models")
    options = parser.parse_args()
    table = Table(
        "engine", "CPU ms an edge and pair", "times ours", title=f"exact effects of {options.edges} edges"
    )
    for size in (size for size in SIZES if options.size in (None, size.name)):
        for name, spent, times in measured(size, options.edges, options.rounds):
            table.add_row(f"{name}, {size}", f"{1e3 * spent:.1f}", f"{times:.1f}")
    Console().print(table)


def measured(size: Size, count: int, rounds: int) -> list[tuple[str, float, float]]:
    """By engine the CPU seconds of an edge on a pair, and how many times ours.

    Raises:
        SystemExit: an engine finds other effects.
    """
    clean, corrupted = np.random.default_rng(0).integers(0, VOCABULARY, (2, PAIRS, size.length))
    with tempfile.TemporaryDirectory() as folder:
        model = random_model(size, Path(folder))
        subject = Subject.load(folder)
        graph = pair_set(subject, clean.tolist(), corrupted.tolist(), logit_diff(*TOKENS)).splitting.graph
        drawn = np.random.default_rng(1).choice(graph.size, count, replace=False)
        edges = [graph[index] for index in drawn.tolist()]

        def ours() -> Tokens:
            # The check that the model is a sum is part of what a user pays.
            pairs = pair_set(subject, clean.tolist(), corrupted.tolist(), logit_diff(*TOKENS))
            return edge_effects(pairs, edges).values

        together = TOKENS_AT_ONCE // (PAIRS * size.length)
        engines: dict[str, Callable[[], Tokens]] = {
            "ours": ours,
            "transformers, an edge a forward": lambda: torch_effects(model, clean, corrupted, edges, 1),
            "transformers, edges in batches": lambda: torch_effects(model, clean, corrupted, edges, together),
        }
        expected = ours()
        for name, engine in engines.items():
            if (error := difference(engine(), expected)) > TOLERANCE:
                raise SystemExit(f"{name} differs by {error:.1e}; no figures are worth having")
        spent: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(rounds):
            for name, engine in engines.items():
                spent[name].append(seconds(engine, 1))
    cost = {name: median(times) / (count * PAIRS) for name, times in spent.items()}
    return [(name, one, one / cost["ours"]) for name, one in cost.items()]


def torch_effects(
    model: Any, clean: Tokens, corrupted: Tokens, edges: Sequence[Edge], together: int
) -> Tokens:
    """(P, K) the same by hooks on transformers' Llama, with so many edges in a batch."""
    import torch

    sent, other = (written(model, torch.tensor(tokens)) for tokens in (clean, corrupted))
    plain = metric(model, torch.tensor(clean))
    effects = np.empty((len(clean), len(edges)))
    for start in range(0, len(edges), together):
        some = edges[start : start + together]
        rows = torch.tensor(np.concatenate([clean] * len(some)))
        changes = torch.cat([other[str(edge.sender)] - sent[str(edge.sender)] for edge in some])
        handles = [
            handle
            for row, edge in enumerate(some)
            for handle in changing(
                model, edge.receiver, slice(row * len(clean), (row + 1) * len(clean)), changes
            )
        ]
        found = metric(model, rows)
        for handle in handles:
            handle.remove()
        effects[:, start : start + len(some)] = found.reshape(len(some), -1).T - plain[:, None]
    return effects


def metric(model: Any, tokens: Any) -> Tokens:
    """The difference of two logits at the last position."""
    logits = model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1]
    return np.asarray(logits[:, TOKENS[0]] - logits[:, TOKENS[1]])


def written(model: Any, tokens: Any) -> dict[str, Any]:
    """By sender what it writes (B, L, D)."""
    found: dict[str, Any] = {}
    inner, handles = model.model, list[Any]()

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _args, output: found.update({name: output})

    def heads(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: Any, _output: Any) -> None:
            count = model.config.num_attention_heads
            value = args[0].unflatten(-1, (count, -1))
            weight = module.weight.unflatten(1, (count, -1))
            for head in range(count):
                found[f"L{layer}.H{head}"] = value[:, :, head] @ weight[:, head].T

        return hook

    handles.append(inner.embed_tokens.register_forward_hook(keep("embed")))
    for layer, block in enumerate(inner.layers):
        handles.append(block.self_attn.o_proj.register_forward_hook(heads(layer)))
        handles.append(block.mlp.register_forward_hook(keep(f"L{layer}.MLP")))
    model(tokens, use_cache=False, logits_to_keep=1)
    for handle in handles:
        handle.remove()
    return found


def changing(model: Any, receiver: Receiver, rows: slice, changes: Any) -> list[Any]:
    """Hooks by which a receiver hears changes in some rows, and nothing else does."""
    from torch.nn.functional import linear

    def heard(_module: Any, args: Any) -> Any:
        value = args[0].clone()
        value[rows] += changes[rows]
        return (value, *args[1:])

    if receiver.layer is None:
        return [model.model.norm.register_forward_pre_hook(heard)]
    block = model.model.layers[receiver.layer]
    if receiver.reads == "mlp":
        return [block.post_attention_layernorm.register_forward_pre_hook(heard)]
    stream = list[Any]()
    width = model.config.hidden_size // model.config.num_attention_heads
    of_head = slice((receiver.head or 0) * width, ((receiver.head or 0) + 1) * width)

    def seen(_module: Any, args: Any) -> None:
        stream[:] = [args[0]]

    def projected(module: Any, _args: Any, output: Any) -> Any:
        normed = type(block.input_layernorm).forward(block.input_layernorm, stream[0][rows] + changes[rows])
        output[rows, :, of_head] = linear(normed, module.weight[of_head])
        return output

    module = getattr(block.self_attn, f"{receiver.reads}_proj")
    return [block.input_layernorm.register_forward_pre_hook(seen), module.register_forward_hook(projected)]


if __name__ == "__main__":
    main()
