"""What heads do to tokens without context: OV and QK circuits, by the model's own code.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits". Every block is given the states of tokens in
place of what the blocks before it computed, so that one forward reads the circuits of all heads from the weights. That
serves grouped keys, biases, norms and rotations as the model has them. A token's state is its embedding and what the
first MLP adds to it, which is where the token is to be read (Wang et al. 2022, arXiv:2211.00593; Gould et al. 2023,
arXiv:2312.09230).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.interventions import Intervention, patch, zero
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.attribution.frozen_norm import final_norm, read_out
from lazarus_probe.introspection.attribution.head_terms import projected_heads
from lazarus_probe.taps import original

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

AT_ONCE = 64  # tokens whose logits, or whose heads' outputs, are computed together


def token_states(subject: Subject, tokens: NDArray[Any]) -> mx.array:
    """The states (N, D) of tokens (N,): embedding and first MLP, with the first attention left out.

    Raises:
        UnsupportedArchitecture: the model carries several residual streams, or its first block has no MLP.
    """
    if subject.anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(
            f"{subject.name} carries several residual streams; one is needed to give its blocks tokens alone"
        )
    kinds = kinds_at(subject.anatomy, 0)
    if "mlp_out" not in kinds:
        raise UnsupportedArchitecture(
            f"block 0 of {subject.name} has no MLP (it has {', '.join(kinds)}); a token's state is read after it"
        )
    mixing = [zero(Site(kind, 0)) for kind in ("attn_out", "mixer_out") if kind in kinds]
    site = Site("resid_post", 0)
    return trace(subject, mx.array(tokens)[:, None], site, mixing)[site][:, 0]


def from_tokens_alone(subject: Subject, states: mx.array) -> list[Intervention]:
    """Edits that give every block but the first the states (B, L, D) of tokens; the first has their embeddings."""
    return [patch(Site("resid_pre", layer), states) for layer in range(1, subject.num_layers)]


def ov_outputs(
    subject: Subject, tokens: NDArray[Any], states: mx.array | None = None
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """By layer with attention, what each head adds to the stream (N, H, D) where it attends to one of N tokens alone.

    A token on its own is all that there is to attend to, so a head's output is that of its OV circuit.

    Args:
        subject: the model.
        tokens: (N,).
        states: (N, D) of the tokens, as `token_states` has them, where they are known.

    Raises:
        UnsupportedArchitecture: as `token_states`; or no block has heads that can be told apart.
    """
    layers = [
        layer
        for layer, parts in enumerate(subject.anatomy.parts)
        if parts.o_proj and "head_out" in kinds_at(subject.anatomy, layer)
    ]
    if not layers:
        raise UnsupportedArchitecture(
            f"{subject.name} has no attention heads with an output projection of their own; it has no OV circuits"
        )
    states = token_states(subject, tokens) if states is None else states
    heads_of = _head_outputs(subject, tokens, states, layers)
    for layer in layers:
        heads = heads_of[layer]
        starts = range(0, len(heads), AT_ONCE)
        parts = [projected_heads(subject, layer, heads[start : start + AT_ONCE])[0] for start in starts]
        yield layer, _added(subject, layer, np.concatenate([part.astype(np.float32) for part in parts]))


def _head_outputs(
    subject: Subject, tokens: NDArray[Any], states: mx.array, layers: Sequence[int]
) -> dict[int, NDArray[np.float32]]:
    """By layer what its heads write (N, H, Dh) where every block is given the states (N, D) of single tokens.

    No block waits for the one before it, so that mlx computes all of them at once: 475 tokens of SmolLM2 in one batch
    took 3.4 GB beyond the model, 64 take .5.
    """
    sites = {layer: Site("head_out", layer) for layer in layers}
    parts: dict[int, list[NDArray[np.float32]]] = {layer: [] for layer in layers}
    for start in range(0, len(tokens), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        edits = from_tokens_alone(subject, states[rows, None])
        run = trace(subject, mx.array(tokens[rows])[:, None], list(sites.values()), edits)
        for layer, site in sites.items():
            parts[layer].append(np.array(run[site][:, 0].astype(mx.float32)))
    return {layer: np.concatenate(of_layer) for layer, of_layer in parts.items()}


def _added(subject: Subject, layer: int, heads: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs of heads (N, H, D), normalised where the block normalises what it adds."""
    if subject.anatomy.parts[layer].attention_norm is None:
        return heads
    norm = original(subject.anatomy.part("attention_norm", layer))
    return _normed(subject, norm, heads)


class TokenReader:
    """Reads logits of C tokens off what single components add to the stream."""

    def __init__(self, subject: Subject, tokens: NDArray[Any]) -> None:
        """Raises `UnsupportedArchitecture` where a residual alone has no logits, or there is no one final norm."""
        require_free_tail(subject)
        self.subject = subject
        norm = final_norm(subject, mx.array(tokens[:4])[None])
        self.norm = original(norm)
        rows = []
        for start in range(0, len(tokens), AT_ONCE):
            picked = mx.array(tokens[start : start + AT_ONCE])[:, None]
            zeros = np.zeros((len(picked), subject.anatomy.hidden_size))
            rows.append(read_out(subject, norm, zeros, partial(_logits_of, picked)).slopes)
        self.rows = np.concatenate(rows).astype(np.float32)

    def normed(self, terms: NDArray[Any]) -> NDArray[np.float32]:
        """Terms (..., D) after a final norm of their own, so that only the order of their logits counts."""
        return _normed(self.subject, self.norm, terms)


def _logits_of(picked: mx.array, logits: mx.array) -> mx.array:
    return mx.take_along_axis(logits, picked, axis=1)[:, 0]


def _normed(subject: Subject, norm: Any, terms: NDArray[Any]) -> NDArray[np.float32]:
    """A norm of terms (..., D) without its bias."""
    width = terms.shape[-1]
    rows = np.concatenate([np.zeros((1, width)), terms.reshape(-1, width)]).astype(np.float32)
    value = norm(mx.array(rows).astype(getattr(mx, subject.dtype))[None])[0]
    normed = np.array(value.astype(mx.float32))
    return (normed[1:] - normed[0]).reshape(terms.shape)
