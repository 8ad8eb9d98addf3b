"""What an analysis of a prompt by the logit lens is asked for, and what it finds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.introspection.display import Cell, table

if TYPE_CHECKING:
    from lazarus_probe.introspection.lens.residual_contributions import ResidualContribution

CONFIDENT = 0.3  # normalised entropy below which a layer is called confident
SIGNIFICANT = 0.1  # Jensen-Shannon divergence, in nats, above which a transition is called significant
MOST_SHOWN = 100


class LayerStrategy(StrEnum):
    """Which layers are read."""

    ALL = "all"
    EVENLY_SPACED = "evenly_spaced"
    FIRST_LAST = "first_last"
    CUSTOM = "custom"


@dataclass(frozen=True)
class AnalysisConfig:
    """What to read.

    Attributes:
        layer_strategy: every layer, every `layer_step`-th and the last, the first and the last, or `custom_layers`.
        layer_step: of the evenly spaced.
        custom_layers: the layers of `CUSTOM`, from 0; negative ones count from the last.
        top_k: predictions a layer, 1 to 100.
        track_tokens: texts, or token ids, whose probability and rank are followed; of a text that is several tokens
            the first piece is, and the result says so in `pieces`.
        compute_entropy: whether each layer's entropy is computed; without it no layer counts as confident.
        compute_transitions: whether consecutive layers are compared.
        compute_residual_decomposition: whether to measure what attention and MLP write into the residual stream.

    Raises:
        ValueError: a number out of range, or custom layers without `CUSTOM` or the other way round.
    """

    layer_strategy: LayerStrategy = LayerStrategy.EVENLY_SPACED
    layer_step: int = 4
    custom_layers: Sequence[int] | None = None
    top_k: int = 5
    track_tokens: Sequence[str | int] = field(default_factory=list)
    compute_entropy: bool = True
    compute_transitions: bool = True
    compute_residual_decomposition: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer_strategy", LayerStrategy(self.layer_strategy))
        if self.layer_step < 1:
            raise ValueError(f"layer_step is {self.layer_step}; at least 1 is needed")
        if not 1 <= self.top_k <= MOST_SHOWN:
            raise ValueError(f"top_k is {self.top_k}; 1 to {MOST_SHOWN} can be shown")
        if isinstance(self.track_tokens, str):
            raise ValueError(f"track_tokens is one text, {self.track_tokens!r}; give a list of texts")
        if bool(self.custom_layers) != (self.layer_strategy == LayerStrategy.CUSTOM):
            raise ValueError(
                f"custom_layers is {self.custom_layers} and layer_strategy {self.layer_strategy.value!r}; "
                "give custom_layers with LayerStrategy.CUSTOM, and with nothing else"
            )

    def layers(self, num_layers: int) -> list[int]:
        """The layers to read of a model with `num_layers`, in order and each once.

        Raises:
            IndexError: a custom layer that the model does not have.
        """
        last = num_layers - 1
        match self.layer_strategy:
            case LayerStrategy.ALL:
                return list(range(num_layers))
            case LayerStrategy.FIRST_LAST:
                return sorted({0, last})
            case LayerStrategy.EVENLY_SPACED:
                return sorted({*range(0, num_layers, self.layer_step), last})
        asked = list(self.custom_layers or ())
        for layer in asked:
            if not -num_layers <= layer < num_layers:
                raise IndexError(f"custom_layers: there is no layer {layer}; the model has 0 to {last}")
        return sorted({layer % num_layers for layer in asked})


@dataclass(frozen=True)
class TokenPrediction:
    """A token, how probable it is, and its place among all tokens; 1 is the top."""

    token: str
    token_id: int
    probability: float
    rank: int


@dataclass(frozen=True)
class LayerPredictionResult:
    """What the lens says after a layer.

    Attributes:
        layer_idx: the layer, from 0.
        predictions: the most probable tokens, the most probable first.
        entropy: of the whole next-token distribution, in nats; None if it was not asked for.
        entropy_normalized: entropy over its largest possible value, from 0 to 1.
    """

    layer_idx: int
    predictions: list[TokenPrediction]
    entropy: float | None = None
    entropy_normalized: float | None = None

    @property
    def top_token(self) -> str:
        """The most probable token."""
        return self.predictions[0].token

    @property
    def top_probability(self) -> float:
        """Its probability."""
        return self.predictions[0].probability

    @property
    def is_confident(self) -> bool:
        """Whether normalised entropy is below 0.3."""
        return self.entropy_normalized is not None and self.entropy_normalized < CONFIDENT


@dataclass(frozen=True)
class LayerTransition:
    """How far the lens's distribution moves from one captured layer to the next.

    Attributes:
        from_layer: the earlier.
        to_layer: the later.
        kl_divergence: KL(from || to) in nats.
        js_divergence: Jensen-Shannon divergence in nats, at most log 2.
        top_token_changed: whether another token is on top.
        entropy_delta: entropy after minus before, in nats.
    """

    from_layer: int
    to_layer: int
    kl_divergence: float
    js_divergence: float
    top_token_changed: bool
    entropy_delta: float

    @property
    def is_significant(self) -> bool:
        """Whether the Jensen-Shannon divergence is above 0.1 nats; a threshold, not a test."""
        return self.js_divergence > SIGNIFICANT


@dataclass(frozen=True)
class TokenEvolutionResult:
    """A tracked token's way through the layers.

    Attributes:
        token: the text asked for.
        token_id: the token that was followed.
        layer_probabilities: its probability by captured layer.
        layer_ranks: by captured layer, its exact place among all tokens; 1 is the top.
        pieces: the tokens that the text is; the first of them was followed.
    """

    token: str
    token_id: int
    layer_probabilities: dict[int, float]
    layer_ranks: dict[int, int]
    pieces: tuple[str, ...] = ()

    @property
    def emergence_layer(self) -> int | None:
        """The first captured layer, possibly 0, at which it is the top token; None if it never is."""
        return next((layer for layer, rank in self.layer_ranks.items() if rank == 1), None)

    @property
    def stable_layer(self) -> int | None:
        """The captured layer from which on it is the top token up to the last captured one."""
        found = None
        for layer, rank in reversed(self.layer_ranks.items()):
            if rank != 1:
                break
            found = layer
        return found


@dataclass(frozen=True)
class AnalysisResult:
    """One prompt read by the logit lens at its last position.

    Attributes:
        prompt: the text.
        tokens: it in tokens, those that the tokenizer adds included.
        num_layers: of the model.
        captured_layers: those that were read.
        final_prediction: the model's own next-token predictions.
        layer_predictions: by captured layer.
        layer_transitions: between consecutive captured layers.
        token_evolutions: of the tracked tokens.
        residual_contributions: by captured layer, if asked for.
        model_id: the model's name.
    """

    prompt: str
    tokens: list[str]
    num_layers: int
    captured_layers: list[int]
    final_prediction: list[TokenPrediction]
    layer_predictions: list[LayerPredictionResult]
    layer_transitions: list[LayerTransition] = field(default_factory=list)
    token_evolutions: list[TokenEvolutionResult] = field(default_factory=list)
    residual_contributions: list[ResidualContribution] = field(default_factory=list)
    model_id: str = ""

    @property
    def predicted_token(self) -> str:
        """The model's most probable next token."""
        return self.final_prediction[0].token

    @property
    def predicted_probability(self) -> float:
        """Its probability."""
        return self.final_prediction[0].probability

    @property
    def decision_layer(self) -> int | None:
        """The first captured layer that is confident of the token the model ends with; None if none is."""
        final = self.final_prediction[0].token_id
        found = (
            layer.layer_idx
            for layer in self.layer_predictions
            if layer.is_confident and layer.predictions[0].token_id == final
        )
        return next(found, None)

    @property
    def max_kl_transition(self) -> LayerTransition | None:
        """The transition of the largest KL divergence."""
        return max(self.layer_transitions, key=lambda each: each.kl_divergence, default=None)

    @property
    def significant_transitions(self) -> list[LayerTransition]:
        """The transitions of a Jensen-Shannon divergence above 0.1 nats."""
        return [each for each in self.layer_transitions if each.is_significant]

    @property
    def attention_dominant_layers(self) -> list[int]:
        """Layers whose attention writes more into the residual stream than their MLP."""
        return [each.layer_idx for each in self.residual_contributions if each.attention_fraction > 0.5]

    @property
    def ffn_dominant_layers(self) -> list[int]:
        """Layers whose MLP writes more into the residual stream than their attention."""
        return [each.layer_idx for each in self.residual_contributions if each.ffn_fraction > 0.5]

    @property
    def max_attention_layer(self) -> int | None:
        """The layer whose attention writes most."""
        found = max(self.residual_contributions, key=lambda each: each.attention_norm, default=None)
        return None if found is None else found.layer_idx

    @property
    def max_ffn_layer(self) -> int | None:
        """The layer whose MLP writes most."""
        found = max(self.residual_contributions, key=lambda each: each.ffn_norm, default=None)
        return None if found is None else found.layer_idx

    def as_data(self) -> dict[str, Any]:
        """All of it as plain data."""
        data = asdict(self)
        del data["model_id"]
        for kind in ("layer_predictions", "layer_transitions", "token_evolutions"):
            for each, row in zip(getattr(self, kind), data[kind], strict=True):
                row.update({name: getattr(each, name) for name in DERIVED[kind]})
        names = ("predicted_token", "predicted_probability", "decision_layer")
        return {**data, **{name: getattr(self, name) for name in names}}

    def save(self, path: str | Path) -> None:
        """Write `as_data` to a JSON file, aside first, so that what stands under the name is whole.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps(_finite(self.as_data()), indent=2, ensure_ascii=False, allow_nan=False)
        write_aside(Path(path), text + "\n")

    def to_display(self) -> str:
        """All of it as text."""
        from lazarus_probe.introspection.lens.analysis_text import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """A row a layer, its most probable tokens shaded by their probability."""
        rows = [
            [layer.layer_idx, *(_cell(each) for each in layer.predictions)]
            for layer in self.layer_predictions
        ]
        top = len(self.layer_predictions[0].predictions) if rows else 0
        return table(f"Logit lens: {self.prompt!r}", ["layer", *(f"top {k + 1}" for k in range(top))], rows)


DERIVED = {
    "layer_predictions": ("top_token", "top_probability", "is_confident"),
    "layer_transitions": ("is_significant",),
    "token_evolutions": ("emergence_layer", "stable_layer"),
}


def _finite(value: Any) -> Any:
    """Data for JSON, which has no infinity: null stands for it."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(each: TokenPrediction) -> Cell:
    return Cell(repr(each.token), f"{each.probability:.4f}, token {each.token_id}", each.probability)
