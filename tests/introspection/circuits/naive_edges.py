"""A Llama of one prompt in NumPy float64, in which every head and every MLP is given an input of its own."""

# ruff: noqa: N806 - L, H and G are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mlx.utils import tree_flatten

from tests.conftest import rotated

Sent = dict[str, np.ndarray]
# From the name of a receiver and what was sent so far to what it hears (L, D), without the biases.
Hears = Callable[[str, Sent], np.ndarray]


def all_of_it(_: str, sent: Sent) -> np.ndarray:
    """The plain model."""
    return np.sum(list(sent.values()), axis=0)


def naive_edges(model: Any, ids: list[int], hears: Hears = all_of_it) -> tuple[np.ndarray, Sent]:
    """Logits (V,) at the last position, and by sender what it writes (L, D)."""
    args = model.args
    weights = {name: np.array(value, dtype=np.float64) for name, value in tree_flatten(model.parameters())}
    L, H, G = len(ids), args.num_attention_heads, args.num_key_value_heads
    width = args.head_dim or args.hidden_size // H

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + args.rms_norm_eps) * weights[f"{name}.weight"]

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    sent: Sent = {"embed": weights["model.embed_tokens.weight"][ids]}
    biases = np.zeros(args.hidden_size)
    for layer in range(args.num_hidden_layers):
        block = f"model.layers.{layer}"

        def step(
            part: str,
            head: int,
            name: str,
            block: str = block,
            sent: Sent = sent,
            biases: np.ndarray = biases,
        ) -> np.ndarray:
            x = norm(f"{block}.input_layernorm", hears(name, sent) + biases)
            y = linear(f"{block}.self_attn.{part}_proj", x)[:, head * width : (head + 1) * width]
            return y if part == "v" else rotated(y[None, :, None], args.rope_theta)[0, :, 0]

        keys = [step("k", group, f"L{layer}.KV{group}.k") for group in range(G)]
        values = [step("v", group, f"L{layer}.KV{group}.v") for group in range(G)]
        written: Sent = {}
        for head in range(H):
            group = head // (H // G)
            scores = step("q", head, f"L{layer}.H{head}.q") @ keys[group].T / np.sqrt(width)
            scores = np.where(np.tril(np.ones((L, L))) > 0, scores, -np.inf)
            pattern = np.exp(scores - scores.max(-1, keepdims=True))
            out = pattern / pattern.sum(-1, keepdims=True) @ values[group]
            output = weights[f"{block}.self_attn.o_proj.weight"][:, head * width : (head + 1) * width]
            written[f"L{layer}.H{head}"] = out @ output.T
        sent = sent | written
        biases = biases + weights.get(f"{block}.self_attn.o_proj.bias", 0.0)
        x = norm(f"{block}.post_attention_layernorm", hears(f"L{layer}.MLP", sent) + biases)
        gate, up = linear(f"{block}.mlp.gate_proj", x), linear(f"{block}.mlp.up_proj", x)
        sent[f"L{layer}.MLP"] = linear(f"{block}.mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
    last = norm("model.norm", hears("logits", sent) + biases)[-1]
    return linear("model.embed_tokens" if args.tie_word_embeddings else "lm_head", last), sent
