"""A summary of what `ModelHooks` captures on a prompt: shapes, norms, attention, and the logit lens.

Averages leave out attention sinks and positions with massive activations, which in a trained model exceed all others a
hundred times, and would be the average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.outliers import Outliers, outliers
from lazarus_probe.introspection.capture.evolution import LayerPrediction, LogitLens
from lazarus_probe.introspection.capture.model_hooks import CaptureConfig, ModelHooks, PositionSelection
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tables import Column, Table


@dataclass(frozen=True)
class Attended:
    """Attention from a prompt's last position.

    Attributes:
        shape: (B, H, L, S) of the weights that were captured.
        entropies: (H,) in nats, at most the logarithm of the number of positions.
        positions: the three with the largest weights, on average over heads, outlier positions left out.
        tokens: at those positions.
        weights: of those positions.
        outliers: what the positions left out take together, on average over heads.
    """

    shape: tuple[int, ...]
    entropies: tuple[float, ...]
    positions: tuple[int, ...]
    tokens: tuple[str, ...]
    weights: tuple[float, ...]
    outliers: float

    @property
    def entropy(self) -> float:
        """Mean entropy over heads."""
        return float(np.mean(self.entropies))


@dataclass(frozen=True)
class CapturedLayer:
    """One layer's captures.

    Attributes:
        layer: from 0.
        shape: (B, L, D) of the hidden states.
        norm: of the hidden state at the last position.
        mean_norm: the mean over the positions that were captured, outliers left out.
        median_norm: the median over all of them.
        attention: where it was captured.
    """

    layer: int
    shape: tuple[int, ...]
    norm: float
    mean_norm: float
    median_norm: float
    attention: Attended | None


@dataclass(frozen=True)
class CaptureReport:
    """The captures on one prompt.

    Attributes:
        prompt: the text.
        tokens: as texts.
        positions: those captured.
        logits_shape: (B, L, V).
        layers: by layer.
        lens: the most probable tokens after each layer, or empty.
        outliers: the sinks and massive activations of the prompt; None where they were not looked for.
    """

    prompt: str
    tokens: tuple[str, ...]
    positions: tuple[int, ...]
    logits_shape: tuple[int, ...]
    layers: tuple[CapturedLayer, ...]
    lens: tuple[LayerPrediction, ...] = ()
    outliers: Outliers | None = None

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        data = asdict(replace(self, outliers=None))
        return data | {"outliers": None if self.outliers is None else self.outliers.as_data()}

    def notes(self) -> list[str]:
        """The positions left out of averages, each with the reason."""
        if self.outliers is None:
            return []
        return [
            f"Left out of averages: position {at} ({self.tokens[at]!r}), {self.outliers.described(at)}"
            for at in self.outliers.positions
        ]

    def _repr_html_(self) -> str:
        tops = {layer.layer_idx: f"{layer.top_token!r} ({layer.top_prob:.4f})" for layer in self.lens}
        rows = [
            (
                layer.layer,
                layer.shape,
                layer.norm,
                layer.attention.entropy if layer.attention else None,
                tops.get(layer.layer),
            )
            for layer in self.layers
        ]
        columns = ("layer", "shape", Column("norm", ".2f"), Column("entropy", ".2f"), "lens")
        return Table(columns, rows, f"captured: {self.prompt!r}").html()


def default_layers(num_layers: int) -> list[int]:
    """Layers evenly spaced over the model, every fourth of a deep one, and always the last."""
    step = max(1, min(4, num_layers // 4))
    return sorted({*range(0, num_layers, step), num_layers - 1})


def capture_report(
    subject: Subject,
    prompt: str,
    layers: Sequence[int] | None = None,
    *,
    attention: bool = False,
    last_only: bool = False,
    lens: bool = True,
    top_k: int = 5,
    keep_outliers: bool = False,
) -> CaptureReport:
    """Run a prompt once and summarise the captures.

    Args:
        subject: the model.
        prompt: a text.
        layers: evenly spaced by default; with `attention`, of those that have attention.
        attention: whether to capture attention weights.
        last_only: whether to capture the last position only.
        lens: whether to read the last position by the logit lens.
        top_k: tokens of the lens per layer.
        keep_outliers: average over all positions, and do not look for sinks and massive activations.

    Raises:
        ValueError: an empty prompt, or no attention in the layers.
        IndexError: a layer that the model does not have.
    """
    chosen = list(layers) if layers is not None else default_layers(subject.num_layers)
    if layers is None and attention:
        chosen = [layer for layer in chosen if "pattern" in kinds_at(subject.anatomy, layer)] or chosen
    where = PositionSelection.LAST if last_only else PositionSelection.ALL
    hooks = ModelHooks(subject).configure(
        CaptureConfig(chosen, capture_attention_weights=attention, positions=where)
    )
    ids = subject.encode(prompt)
    logits = hooks.forward(mx.array([ids]))
    tokens = tuple(subject.decode([token]) for token in ids)
    outlying = None if keep_outliers else outliers(subject, ids)
    read = LogitLens(hooks, subject.tokenizer).get_layer_predictions(top_k=top_k) if lens else ()
    return CaptureReport(
        prompt,
        tokens,
        hooks.state.positions,
        tuple(logits.shape) if logits is not None else (),
        tuple(
            _layer(hooks, layer, tokens, () if outlying is None else outlying.positions)
            for layer in hooks.state.captured_layers
        ),
        tuple(read),
        outlying,
    )


def _layer(hooks: ModelHooks, layer: int, tokens: Sequence[str], left_out: Sequence[int]) -> CapturedLayer:
    hidden = hooks.state.hidden_states[layer]
    norms = np.linalg.norm(np.array(hidden.astype(mx.float32)).reshape(hidden.shape[1], -1), axis=-1)
    usual = norms[[position not in left_out for position in hooks.state.positions]]
    weights = hooks.state.attention_weights.get(layer)
    return CapturedLayer(
        layer,
        tuple(hidden.shape),
        float(norms[-1]),
        float((usual if len(usual) else norms).mean()),
        float(np.median(norms)),
        None if weights is None else _attended(weights, tokens, left_out),
    )


def _attended(weights: mx.array, tokens: Sequence[str], left_out: Sequence[int]) -> Attended:
    last: NDArray[Any] = np.array(weights.astype(mx.float32))[0, :, -1].astype(np.float64)  # (H, S)
    logs = np.log(np.where(last > 0, last, 1.0))
    mean = last.mean(axis=0)
    best = [at for at in np.argsort(-mean, kind="stable").tolist() if at not in left_out][:3]
    return Attended(
        tuple(weights.shape),
        tuple((-(last * logs).sum(axis=-1)).tolist()),
        tuple(best),
        tuple(tokens[position] for position in best),
        tuple(mean[best].tolist()),
        float(mean[list(left_out)].sum()),
    )
