"""Capturing what passes through a model's layers, on any mlx-lm model as `mlx_lm.load` returns it.

Everything here is `lazarus_probe.hooks` under the names of a published interface: the model's own code runs, with its
own masks, scales and caches, and is observed at sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lazarus_probe.anatomy.forward_pass import forward, new_cache
from lazarus_probe.hooks.interventions import Edit, Intervention, scale
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.positions import check_positions, check_range
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.lens.read_out import own_embedding_scale, read_out
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.relative_depth import layer_number
from lazarus_probe.subject.subject import Subject

# By field of a CaptureConfig: the field of the state that it fills, and the kind of site there.
KINDS = {
    "capture_hidden_states": ("hidden_states", "resid_post"),
    "capture_attention_weights": ("attention_weights", "pattern"),
    "capture_attention_output": ("attention_outputs", "attn_out"),
    "capture_ffn_output": ("ffn_outputs", "mlp_out"),
    "capture_pre_norm": ("pre_norm_states", "resid_pre"),
}


class PositionSelection(StrEnum):
    """Which positions are captured: all of them, or the last one that a call of the model computes.

    Example:
        >>> from lazarus_probe.introspection import ModelHooks, PositionSelection
        >>> hooks = ModelHooks(subject).capture_layers([3], positions=PositionSelection.ALL)
        >>> logits = hooks.forward(mx.array([subject.encode("7*8=")]))
        >>> hooks.state.hidden_states[3].shape
        (1, 5, 128)
    """

    ALL = "all"
    LAST = "last"


@dataclass(frozen=True)
class CaptureConfig:
    """What `ModelHooks.forward` captures.

    Attributes:
        layers: from 0, negative ones from the last; or "all", which leaves out layers without what is requested.
        capture_hidden_states: the residual stream leaving each layer.
        capture_attention_weights: the attention pattern, after the softmax.
        capture_attention_output: what attention adds, as its module returns it.
        capture_ffn_output: what the MLP, or the mixture of experts, returns.
        capture_pre_norm: the residual stream entering each layer, before its first norm.
        positions: at which positions; `PositionSelection`, or numbers (negative ones from the prompt's end).
        detach: whether no gradient flows back through what is kept.

    Example:
        >>> from lazarus_probe.introspection import CaptureConfig, ModelHooks
        >>> hooks = ModelHooks(subject).configure(CaptureConfig(layers="all", capture_ffn_output=True))
        >>> logits = hooks.forward(mx.array([subject.encode("7*8=")]))
        >>> hooks.state.captured_layers
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    layers: Sequence[int] | Literal["all"] = "all"
    capture_hidden_states: bool = True
    capture_attention_weights: bool = False
    capture_attention_output: bool = False
    capture_ffn_output: bool = False
    capture_pre_norm: bool = False
    positions: PositionSelection | Sequence[int] = PositionSelection.LAST
    detach: bool = True


@dataclass
class CapturedState:
    """The captures of the last forward, by layer where there are several; L stands for the requested positions.

    Attributes:
        hidden_states: (B, L, D) residual stream after each layer.
        attention_weights: (B, H, L, S), from each position kept to all that it can see.
        attention_outputs: (B, L, D).
        ffn_outputs: (B, L, D).
        pre_norm_states: (B, L, D) residual stream before each layer.
        input_ids: (B, T) the tokens of the call.
        embeddings: (B, L, D) as the embedding returns them, before any scale of the model's.
        final_hidden: (B, L, D) residual stream after the last layer, which the final norm reads.
        logits: (B, T, V); None where they were not requested.
        positions: (L,) what the positions kept are called in the sequence, cached part included.
        length: tokens of the sequence, cached part included.
    """

    hidden_states: dict[int, mx.array] = field(default_factory=dict)
    attention_weights: dict[int, mx.array] = field(default_factory=dict)
    attention_outputs: dict[int, mx.array] = field(default_factory=dict)
    ffn_outputs: dict[int, mx.array] = field(default_factory=dict)
    pre_norm_states: dict[int, mx.array] = field(default_factory=dict)
    input_ids: mx.array | None = None
    embeddings: mx.array | None = None
    final_hidden: mx.array | None = None
    logits: mx.array | None = None
    positions: tuple[int, ...] = ()
    length: int = 0

    @property
    def captured_layers(self) -> list[int]:
        """The layers whose hidden states were kept."""
        return sorted(self.hidden_states)


class ModelHooks:
    """Captures of a model's layers, and logits read from them.

    Args:
        model: what `mlx_lm.load` returns first, or a `Subject`.
        embedding_scale: what the token embeddings are multiplied by, instead of what the model's own code does.
        model_config: the model's configuration, where it is not that which the model was built from.

    Raises:
        UnsupportedArchitecture: the parts of the model were not found.
        ValueError: an embedding scale for a model whose first layer is given more than scaled embeddings.

    Example:
        >>> from lazarus_probe.introspection import CaptureConfig, ModelHooks
        >>> hooks = ModelHooks(subject).configure(CaptureConfig(layers=[3, 7], capture_attention_weights=True))
        >>> logits = hooks.forward(mx.array([subject.encode("7*8=")]))
        >>> hooks.state.hidden_states[3].shape, hooks.state.attention_weights[3].shape
        ((1, 1, 128), (1, 4, 1, 5))
    """

    def __init__(
        self,
        model: nn.Module | Subject,
        embedding_scale: float | None = None,
        model_config: Mapping[str, Any] | None = None,
    ) -> None:
        config = None if model_config is None else dict(model_config)
        self.subject = model if isinstance(model, Subject) else Subject.from_model(model, config=config)
        self.config = CaptureConfig()
        self.state = CapturedState()
        self._edits: list[Intervention] = []
        if embedding_scale is not None:
            self._edits = [scale("embed", embedding_scale / own_embedding_scale(self.subject))]

    @property
    def model(self) -> nn.Module:
        """The model that is watched."""
        return self.subject.model

    @property
    def num_layers(self) -> int:
        """How many layers it has."""
        return self.subject.num_layers

    def configure(self, config: CaptureConfig) -> ModelHooks:
        """Set what the next forwards capture.

        Raises:
            IndexError: a layer that the model does not have.
            ValueError: a layer without what is requested, or positions that do not exist.
        """
        _requested(self.subject, config)
        _positions(config)
        self.config = config
        return self

    def capture_layers(self, layers: Sequence[int] | Literal["all"] = "all", **fields: Any) -> ModelHooks:
        """`configure` in short: some layers, and other fields of `CaptureConfig` by name."""
        return self.configure(CaptureConfig(layers=layers, **fields))

    def forward(
        self, input_ids: mx.array, cache: list[Any] | None = None, return_logits: bool = True
    ) -> mx.array | None:
        """Run tokens (B, T), and put the captures into `state`.

        Args:
            input_ids: the tokens.
            cache: a cache of the model's, which is continued; a new one by default.
            return_logits: otherwise nothing above the last layer is computed, and None is returned.

        Raises:
            ValueError: no tokens, or some outside the vocabulary.
            IndexError: a position that the tokens do not have.
        """
        tokens = _tokens(self.subject, input_ids)
        requested = _requested(self.subject, self.config)
        last = Site("resid_post", self.num_layers - 1)
        before = next((entry.offset for entry in cache or () if hasattr(entry, "offset")), 0)
        length = tokens.shape[1] + int(before)
        positions = _positions(self.config)
        check_range(positions, length)
        embedded: list[mx.array] = []
        edits = [*self._edits, Intervention("embed", _copied(embedded), positions, "capture")]
        with hooked(
            self.subject, [last, *chain.from_iterable(requested.values())], edits, positions
        ) as captured:
            entries = new_cache(self.model) if cache is None else cache
            logits = self.model(tokens, cache=entries)
            if return_logits:
                require_finite(self.subject, tokens, logits)
        detached = mx.stop_gradient if self.config.detach else lambda value: value
        by_layer: dict[str, Any] = {
            name: {site.layer: detached(captured[site]) for site in sites}
            for name, sites in requested.items()
        }
        self.state = CapturedState(
            **by_layer,
            input_ids=tokens,
            embeddings=detached(embedded[0]),
            final_hidden=detached(captured[last]),
            logits=logits if return_logits else None,
            positions=_named(positions, int(before), length),
            length=length,
        )
        mx.eval(embedded, *(captured[site] for site in captured), *([logits] if return_logits else []))
        return logits if return_logits else None

    def forward_to_layer(self, input_ids: mx.array, layer: int) -> mx.array:
        """The residual stream (B, T, D) after a layer, computed up to there by the model's own code.

        Raises:
            IndexError: the model does not have the layer.
            ValueError: as `forward`.
        """
        site = Site("resid_post", layer_number(layer, self.subject.num_layers))
        with hooked(self.subject, site, self._edits) as captured:
            forward(self.model, _tokens(self.subject, input_ids))
        mx.eval(captured[site])  # and nothing above it
        return captured[site]

    def get_layer_logits(self, layer: int, normalize: bool = True) -> mx.array:
        """Logits (B, L, V) that the model's own tail reads from a layer whose hidden states were kept.

        Args:
            layer: a layer that was captured.
            normalize: whether the final norm is applied; without it the states go to the unembedding as they are.

        Raises:
            IndexError: the model does not have the layer.
            KeyError: its hidden states were not kept; the message names those that were.
            UnsupportedArchitecture: the model's tail reads more than the residual stream, and positions were left out.
        """
        number = layer_number(layer, self.subject.num_layers)
        if number not in self.state.hidden_states:
            captured = ", ".join(map(str, self.state.captured_layers)) or "none; run `forward` first"
            raise KeyError(f"layer {number} was not captured; captured: {captured}")
        hidden, ids = self.state.hidden_states[number], self.state.input_ids
        all_positions = ids is not None and hidden.shape[1] == ids.shape[1]
        return read_out(self.subject, hidden, normalize, ids if all_positions else None)


def _requested(subject: Subject, config: CaptureConfig) -> dict[str, list[Site]]:
    """The sites to watch, by the field of the state that they fill."""
    all_layers = config.layers == "all"
    count = subject.num_layers
    layers = range(count) if all_layers else [layer_number(int(layer), count) for layer in config.layers]
    sites: dict[str, list[Site]] = {}
    for option, (name, kind) in KINDS.items():
        if getattr(config, option):
            sites[name] = [Site(kind, n) for n in layers if _has(subject, option, kind, n, all_layers)]
    if not any(sites.values()):
        raise ValueError("nothing to capture; set at least one capture_ field, and give at least one layer")
    return sites


def _has(subject: Subject, option: str, kind: str, layer: int, all_layers: bool) -> bool:
    kinds = kinds_at(subject.anatomy, layer)
    if kind not in kinds and not all_layers:
        raise ValueError(f"{option}: layer {layer} has no {kind}; it has {', '.join(kinds)}")
    return kind in kinds


def _positions(config: CaptureConfig) -> Any:
    requested = config.positions
    return check_positions(str(requested) if isinstance(requested, str) else requested)  # type: ignore[arg-type]


def _named(positions: Any, before: int, length: int) -> tuple[int, ...]:
    """What kept positions are called in the sequence."""
    if positions == "all":
        return tuple(range(before, length))
    return (length - 1,) if positions == "last" else tuple(number % length for number in positions)


def _tokens(subject: Subject, input_ids: Any) -> mx.array:
    tokens: mx.array = mx.array(input_ids)
    if tokens.ndim != 2 or not tokens.size:
        raise ValueError(f"input_ids has the shape {tuple(tokens.shape)}; (batch, tokens) is needed")
    # mlx does not check: an embedding row past the end is whatever lies there in memory.
    ids, size = np.array(tokens), subject.anatomy.vocab_size
    if (outside := ids[(ids < 0) | (ids >= size)]).size:
        raise ValueError(f"token id {outside[0]} is outside the vocabulary, 0 to {size - 1}")
    return tokens


def _copied(embedded: list[mx.array]) -> Edit:
    """Captures a copy of the embedding's output, which some models scale in place."""

    def capture(value: mx.array) -> mx.array:
        embedded.append(mx.array(value))
        return value

    return capture
