"""The same questions to every library, each asked as its users would; here ours, in `torch_engines` the others.

An engine is a name and a function for each case it offers. All take token ids as NumPy arrays and return computed
values. Setting `OMP_NUM_THREADS` and its like is left to whoever imports this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lazarus_probe import Subject, hooked, trace
from lazarus_probe.anatomy.forward_pass import forward, new_cache
from lazarus_probe.hooks import compiled
from lazarus_probe.interventions import patch, zero
from lazarus_probe.sweep import Donors, Zero, answer, logit_diff, sweep

import mlx.core as mx  # isort: skip - the lines above choose the BLAS, which must happen first

Cases = dict[str, Callable[..., Any]]
Cells = list[tuple[int, int]]
VOCABULARY = 2003
TOKENS = (5, 6)  # the metric of every patching grid is the logit of the first minus that of the second
NEW = 8
HOOKED, SWEEP = "ours, hooked", "ours, sweep"
KINDS = ("attn_out", "mlp_out", "resid_post")


@dataclass(frozen=True)
class Size:
    """Sizes of a random Llama and of its prompts."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp: int
    length: int

    def __str__(self) -> str:
        return f"{self.name}: {self.layers} layers, width {self.width}, T={self.length}"


@dataclass(frozen=True)
class Engine:
    """A library, or one of the ways in which it can be used.

    Attributes:
        name: its row in the tables.
        library: which plain forward its costs are counted in.
        cases: plain(ids), capture(ids), intervention(ids), grid(target, donor, cells) and ablation(ids), as far as
            it offers them.
        missing: what to install, where it could not be imported.
    """

    name: str
    library: str
    cases: Mapping[str, Callable[..., Any]]
    missing: str = ""


def prompts(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """A target and a donor (1, T) that differ from their first token on."""
    found = np.random.default_rng(0).integers(0, VOCABULARY, (2, 1, size.length))
    return found[0], found[1]


def difference(logits: Any) -> float:
    """The metric of the grids, from logits (1, L, V)."""
    return float(logits[0, -1, TOKENS[0]] - logits[0, -1, TOKENS[1]])


def own_engines(size: Size, folder: Path) -> list[Engine]:
    """Ours, on the checkpoint in `folder`, or on a random model of that size where there is none."""
    subject = Subject.load(folder) if (folder / "config.json").exists() else random_subject(size)
    return [
        Engine(HOOKED, "mlx-lm", hooked_cases(subject)),
        Engine(SWEEP, "mlx-lm", sweep_cases(subject)),
    ]


def organism() -> Engine:
    """Our hooks on the bundled model, compiled as well."""
    subject = Subject.load("organism")
    run = compiled(subject, sites_of(subject))
    return Engine(HOOKED, "mlx-lm", {**hooked_cases(subject), "compiled": lambda ids: run(ids)})


def sites_of(subject: Subject) -> list[str]:
    """Residual, attention and MLP of every block."""
    return [f"{kind}.{layer}" for layer in range(subject.num_layers) for kind in KINDS]


def random_subject(size: Size) -> Subject:
    """A random Llama by mlx-lm."""
    from mlx_lm.models.llama import Model, ModelArgs

    args = ModelArgs(
        model_type="llama",
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        intermediate_size=size.mlp,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        rms_norm_eps=1e-6,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
    )
    mx.random.seed(0)
    return Subject.from_model(Model(args))


def hooked_cases(subject: Subject) -> Cases:
    """Whole forwards with hooks, and one a cell."""
    layers = range(subject.num_layers)
    sites = sites_of(subject)

    def run(ids: Any, edits: Any = ()) -> mx.array:
        with hooked(subject, interventions=edits):
            logits = forward(subject.model, mx.array(ids))
        mx.eval(logits)
        return logits

    def plain(ids: Any) -> mx.array:
        logits = forward(subject.model, mx.array(ids))
        mx.eval(logits)
        return logits

    def graph(ids: Any, looked_at: Any = ()) -> None:
        # Built and dropped: nothing is computed.
        with hooked(subject, looked_at) if looked_at else nullcontext():
            forward(subject.model, mx.array(ids))

    def capture(ids: Any) -> list[mx.array]:
        with hooked(subject, sites) as captures:
            logits = forward(subject.model, mx.array(ids))
        found = [logits, *captures.values()]
        mx.eval(found)
        return found

    def grid(target: Any, donor: Any, cells: Cells) -> list[float]:
        posts = [f"resid_post.{layer}" for layer in layers]
        values = trace(subject, donor, posts)
        return [
            difference(run(target, patch(posts[layer], values[posts[layer]][:, position], position)))
            for layer, position in cells
        ]

    def ablation(ids: Any) -> list[list[int]]:
        return [continued(zero(f"mlp_out.{layer}"), mx.array(ids)) for layer in layers]

    def continued(edit: Any, tokens: mx.array) -> list[int]:
        cache, new = new_cache(subject.model), []
        with hooked(subject, interventions=edit):
            for _ in range(NEW):
                tokens = mx.argmax(subject.model(tokens, cache=cache)[:, -1:], axis=-1)
                new.append(int(np.array(tokens).item()))
        return new

    middle, posts = zero(f"mlp_out.{subject.num_layers // 2}"), [f"resid_post.{layer}" for layer in range(8)]
    return {
        "plain": plain,
        "capture": capture,
        "intervention": lambda ids: run(ids, middle),
        "graph": graph,
        "hooked graph": lambda ids: graph(ids, posts),
        "grid": grid,
        "ablation": ablation,
    }


def sweep_cases(subject: Subject) -> Cases:
    """The sweep engine."""
    wordless = Subject.from_model(subject.model, config={"eos_token_id": None})  # its answers are token ids

    def grid(target: Any, donor: Any, cells: Cells) -> list[float]:
        found = sweep(
            wordless,
            target.tolist(),
            sources={"donor": Donors(donor.tolist())},
            metrics=[logit_diff(*TOKENS)],
            cells=[(f"resid_post.{layer}", position) for layer, position in cells],
        )
        values = found.values["logit_diff"][0, 0]
        rows = {site.layer: row for row, site in enumerate(found.sites)}
        columns = {position: column for column, position in enumerate(found.positions)}
        return [float(values[rows[layer], columns[position]]) for layer, position in cells]

    def ablation(ids: Any) -> list[list[int]]:
        found = sweep(
            wordless,
            ids.tolist(),
            [f"mlp_out.{layer}" for layer in range(subject.num_layers)],
            sources={"zero": Zero()},
            metrics=[answer(NEW)],
            positions="all",
        )
        return [[int(token) for token in text.split()] for text in found.values["answer"][0, 0, :, 0]]

    return {"grid": grid, "ablation": ablation}
