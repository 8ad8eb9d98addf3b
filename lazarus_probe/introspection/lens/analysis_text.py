"""An analysis as it is read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from lazarus_probe.introspection.lens.analysis import (
    AnalysisResult,
    LayerPredictionResult,
    TokenEvolutionResult,
    TokenPrediction,
)

FINAL_WIDTH = 50  # of a bar for probability 1
EVOLUTION_WIDTH = 100


def as_text(result: AnalysisResult) -> str:
    """All that was found about one prompt."""
    return "\n".join(_lines(result))


def _lines(result: AnalysisResult) -> Iterator[str]:
    yield f"Analyzing: {result.prompt!r}"
    yield ""
    yield f"Tokens ({len(result.tokens)}): {result.tokens}"
    yield f"Captured layers: {result.captured_layers}"
    yield "\n=== Final Prediction ==="
    yield from map(_prediction, result.final_prediction)
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


def _prediction(each: TokenPrediction) -> str:
    return f"  {each.probability:.4f} {_bar(each.probability, FINAL_WIDTH)}{each.token!r}"


def _layer(layer: LayerPredictionResult) -> str:
    text = f"  Layer {layer.layer_idx:>2}: {layer.top_token!r} ({layer.top_probability:.4f})"
    if layer.entropy is not None:
        text += f"  entropy {layer.entropy:.3f} nats ({layer.entropy_normalized:.2f})"
    return text + ("  [confident]" if layer.is_confident else "")


def _decision(result: AnalysisResult) -> str:
    if result.decision_layer is None:
        return "  Decision layer: none (no captured layer is confident of the final token)"
    return f"  Decision layer: L{result.decision_layer} (the first that is confident of the final token)"


def _evolution(each: TokenEvolutionResult) -> Iterator[str]:
    yield f"Token {each.token!r}:"
    name = "Becomes"
    if len(each.pieces) > 1:
        pieces = ", ".join(map(repr, each.pieces))
        yield f"  {len(each.pieces)} tokens ({pieces}); followed is the first, {each.pieces[0]!r}"
        name = f"{each.pieces[0]!r} becomes"
    for layer, probability in each.layer_probabilities.items():
        bar = _bar(probability, EVOLUTION_WIDTH) or " "
        yield f"  Layer {layer:>2}: {probability:.4f} {bar}(rank {each.layer_ranks[layer]})"
    yield _emergence(each, name)


def _emergence(each: TokenEvolutionResult, name: str) -> str:
    if each.emergence_layer is None:
        return "  --> Never top-1"
    text = f"  --> {name} top-1 at layer {each.emergence_layer}"
    if each.stable_layer == each.emergence_layer:
        return text
    return text + (
        ", and does not stay so" if each.stable_layer is None else f", and stays so from {each.stable_layer}"
    )


def _transitions(result: AnalysisResult) -> Iterator[str]:
    yield "\n=== Layer Transitions (nats) ==="
    tops = {layer.layer_idx: layer.top_token for layer in result.layer_predictions}
    for each in result.layer_transitions:
        change = f"{tops[each.from_layer]!r} -> {tops[each.to_layer]!r}" if each.top_token_changed else "same"
        yield (
            f"  Layer {each.from_layer:>2} -> {each.to_layer:>2}: KL {each.kl_divergence:.4f}, "
            f"JS {each.js_divergence:.4f}, top token {change}"
        )
    if largest := result.max_kl_transition:
        yield (
            f"  Max KL divergence: {largest.kl_divergence:.4f} "
            f"(layers {largest.from_layer} -> {largest.to_layer})"
        )


def _contributions(result: AnalysisResult) -> Iterator[str]:
    yield "\n=== Residual Contributions (norms at the last position) ==="
    for each in result.residual_contributions:
        yield (
            f"  Layer {each.layer_idx:>2}: attention {each.attention_norm:.3f} ({each.attention_fraction:.0%}), "
            f"MLP {each.ffn_norm:.3f} ({each.ffn_fraction:.0%}), both {each.total_norm:.3f}, "
            f"stream before {each.resid_norm:.3f}"
        )


def _bar(probability: float, width: int) -> str:
    bar = "#" * int(probability * width)
    return f"{bar} " if bar else ""
