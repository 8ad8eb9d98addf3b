"""The result of reading a prompt with the logit lens, as data, as text and as HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.introspection.lens.predictions import (
    LayerPredictionResult,
    LayerTransition,
    TokenEvolutionResult,
    TokenPrediction,
)
from lazarus_probe.plain import json_text
from lazarus_probe.tables import Cell, Table, terminal_width

if TYPE_CHECKING:
    from lazarus_probe.introspection.lens.residual_contributions import ResidualContribution

FINAL_WIDTH = 50  # of a bar for probability 1
EVOLUTION_WIDTH = 100
BESIDE_BAR = 32  # columns of what stands beside a bar


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
        residual_contributions: by captured layer, if requested.
        model_id: the model's name.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe.introspection import ModelAnalyzer
        >>> result = ModelAnalyzer(subject).run("7*8=")
        >>> result.captured_layers, result.predicted_token
        ([0, 4, 7], '56')
        >>> result.save("analysis.json")
        >>> Path("analysis.json").exists()
        True
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
        layers = (
            layer.layer_idx
            for layer in self.layer_predictions
            if layer.is_sharp and layer.predictions[0].token_id == final
        )
        return next(layers, None)

    @property
    def max_kl_transition(self) -> LayerTransition | None:
        """The transition of the largest KL divergence."""
        return max(self.layer_transitions, key=lambda transition: transition.kl_divergence, default=None)

    @property
    def significant_transitions(self) -> list[LayerTransition]:
        """The transitions of a Jensen-Shannon divergence above 0.1 nats."""
        return [transition for transition in self.layer_transitions if transition.is_significant]

    @property
    def attention_dominant_layers(self) -> list[int]:
        """Layers whose attention writes more into the residual stream than their MLP."""
        return [layer.layer_idx for layer in self.residual_contributions if layer.attention_fraction > 0.5]

    @property
    def ffn_dominant_layers(self) -> list[int]:
        """Layers whose MLP writes more into the residual stream than their attention."""
        return [layer.layer_idx for layer in self.residual_contributions if layer.ffn_fraction > 0.5]

    @property
    def max_attention_layer(self) -> int | None:
        """The layer whose attention writes most."""
        largest = max(self.residual_contributions, key=lambda layer: layer.attention_norm, default=None)
        return None if largest is None else largest.layer_idx

    @property
    def max_ffn_layer(self) -> int | None:
        """The layer whose MLP writes most."""
        largest = max(self.residual_contributions, key=lambda layer: layer.ffn_norm, default=None)
        return None if largest is None else largest.layer_idx

    def as_data(self) -> dict[str, Any]:
        """All of it as plain data."""
        data = asdict(self)
        del data["model_id"]
        for kind in ("layer_predictions", "layer_transitions", "token_evolutions"):
            for item, row in zip(getattr(self, kind), data[kind], strict=True):
                row.update({name: getattr(item, name) for name in DERIVED[kind]})
        names = ("predicted_token", "predicted_probability", "decision_layer")
        return {**data, **{name: getattr(self, name) for name in names}}

    def save(self, path: str | Path) -> None:
        """Write `as_data` to a JSON file that is whole or not there.

        Raises:
            OSError: the file cannot be written.
        """
        write_aside(Path(path), json_text(self.as_data()) + "\n")

    def to_display(self) -> str:
        """All of it as text."""
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        """One row per layer, its most probable tokens shaded by their probability."""
        rows = [
            [layer.layer_idx, *(_cell(prediction) for prediction in layer.predictions)]
            for layer in self.layer_predictions
        ]
        top = len(self.layer_predictions[0].predictions) if rows else 0
        columns = ["layer", *(f"top {k + 1}" for k in range(top))]
        return Table(columns, rows, f"Logit lens: {self.prompt!r}").html()


DERIVED = {
    "layer_predictions": ("top_token", "top_probability", "is_confident"),
    "layer_transitions": ("is_significant",),
    "token_evolutions": ("emergence_layer", "stable_layer"),
}


def _cell(prediction: TokenPrediction) -> Cell:
    return Cell(
        repr(prediction.token),
        f"{prediction.probability:.4f}, token {prediction.token_id}",
        prediction.probability,
    )


def _lines(result: AnalysisResult) -> Iterator[str]:
    yield f"Analyzing: {result.prompt!r}"
    yield ""
    yield f"Tokens ({len(result.tokens)}): {result.tokens}"
    yield f"Captured layers: {result.captured_layers}"
    yield "\n=== Final Prediction ==="
    for prediction in result.final_prediction:
        yield (
            f"  {prediction.probability:.4f} {_bar(prediction.probability, FINAL_WIDTH)}{prediction.token!r}"
        )
    yield "\n=== Logit Lens (top prediction at each layer) ==="
    yield from map(_layer, result.layer_predictions)
    if any(layer.entropy is not None for layer in result.layer_predictions):
        yield _decision(result)
    if result.token_evolutions:
        yield "\n=== Token Evolution ==="
    for evolution in result.token_evolutions:
        yield from _evolution(evolution)
    if result.layer_transitions:
        yield from _transitions(result)
    if result.residual_contributions:
        yield from _contributions(result)


def _layer(layer: LayerPredictionResult) -> str:
    text = f"  Layer {layer.layer_idx:>2}: {layer.top_token!r} ({layer.top_probability:.4f})"
    if layer.entropy is not None:
        text += f"  entropy {layer.entropy:.3f} nats ({layer.entropy_normalized:.2f})"
    return text + ("  [confident]" if layer.is_confident else "")


def _decision(result: AnalysisResult) -> str:
    if result.decision_layer is None:
        return "  Decision layer: none (no captured layer is confident of the final token)"
    return f"  Decision layer: L{result.decision_layer} (the first that is confident of the final token)"


def _evolution(evolution: TokenEvolutionResult) -> Iterator[str]:
    yield f"Token {evolution.token!r}:"
    name = "Becomes"
    if len(evolution.pieces) > 1:
        pieces = ", ".join(map(repr, evolution.pieces))
        yield f"  {len(evolution.pieces)} tokens ({pieces}); followed is the first, {evolution.pieces[0]!r}"
        name = f"{evolution.pieces[0]!r} becomes"
    if evolution.spellings and list(evolution.spellings) != [evolution.token]:
        spellings = ", ".join(map(repr, evolution.spellings))
        yield f"  every spelling counts: {spellings}; at the end {evolution.spelling!r} is likeliest"
    for layer, probability in evolution.layer_probabilities.items():
        bar = _bar(probability, EVOLUTION_WIDTH) or " "
        yield f"  Layer {layer:>2}: {probability:.4f} {bar}(rank {evolution.layer_ranks[layer]})"
    yield _emergence(evolution, name)


def _emergence(evolution: TokenEvolutionResult, name: str) -> str:
    if evolution.emergence_layer is None:
        return "  --> Never top-1"
    text = f"  --> {name} top-1 at layer {evolution.emergence_layer}"
    if evolution.stable_layer == evolution.emergence_layer:
        return text
    return text + (
        ", and does not stay so"
        if evolution.stable_layer is None
        else f", and stays so from {evolution.stable_layer}"
    )


def _transitions(result: AnalysisResult) -> Iterator[str]:
    yield "\n=== Layer Transitions (nats) ==="
    tops = {layer.layer_idx: layer.top_token for layer in result.layer_predictions}
    for transition in result.layer_transitions:
        change = (
            f"{tops[transition.from_layer]!r} -> {tops[transition.to_layer]!r}"
            if transition.top_token_changed
            else "same"
        )
        yield (
            f"  Layer {transition.from_layer:>2} -> {transition.to_layer:>2}: KL {transition.kl_divergence:.4f}, "
            f"JS {transition.js_divergence:.4f}, top token {change}"
        )
    if largest := result.max_kl_transition:
        yield (
            f"  Max KL divergence: {largest.kl_divergence:.4f} "
            f"(layers {largest.from_layer} -> {largest.to_layer})"
        )


def _contributions(result: AnalysisResult) -> Iterator[str]:
    yield "\n=== Residual Contributions (norms at the last position) ==="
    for layer in result.residual_contributions:
        yield (
            f"  Layer {layer.layer_idx:>2}: attention {layer.attention_norm:.3f} ({layer.attention_fraction:.0%}), "
            f"MLP {layer.ffn_norm:.3f} ({layer.ffn_fraction:.0%}), both {layer.total_norm:.3f}, "
            f"stream before {layer.resid_norm:.3f}"
        )


def _bar(probability: float, width: int) -> str:
    """A bar of `width` for a probability of 1, or of what a terminal leaves beside the other columns."""
    bar = "#" * int(probability * min(width, (terminal_width() or width + BESIDE_BAR) - BESIDE_BAR))
    return f"{bar} " if bar else ""
