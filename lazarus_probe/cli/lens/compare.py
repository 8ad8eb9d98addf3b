"""`lazarus introspect compare`: two models on one prompt, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import EVERY_SPELLING, AsJson, Output, Prompt
from lazarus_probe.cli.output import RULE, about, deliver
from lazarus_probe.cli.parsing import check_output, checked_text, parse_layers, parse_prompt
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.introspection.lens.comparison import ComparisonResult

NAMES = "Bundled model name, folder or Hub id."
GAP = 3  # between columns


def compare(
    model1: Annotated[str, typer.Option("--model1", "-m1", help=NAMES)],
    model2: Annotated[str, typer.Option("--model2", "-m2", help=NAMES)],
    prompt: Prompt,
    adapter1: Annotated[Path | None, typer.Option(help="Adapter folder for model 1.")] = None,
    adapter2: Annotated[Path | None, typer.Option(help="Adapter folder for model 2.")] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            "--layer",
            "-l",
            help="Layers, counted from 0, as in 0,4-7; -1 is the last; or all.",
            show_default="every 4th and the last",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Predictions to show per model.")] = 5,
    track: Annotated[
        str | None,
        typer.Option(
            help=f"Tokens to track, separated by commas; of a text of several tokens, the first. {EVERY_SPELLING}"
        ),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare two models on one prompt, layer by layer, with the logit lens.

    If both models have the same tokens, whole distributions are compared, by KL(1 || 2) and Jensen-Shannon divergence
    in nats; otherwise only the predictions are, matched by their text.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    texts = parse_prompt(prompt)
    check_output(output)
    tokens = [] if track is None else checked_text(track, "--track").split(",")
    if "" in tokens:
        raise ValueError(f"--track {track!r}: a token is empty; write them as in ' Paris, London'")
    counts = [num_layers_of(name) for name in (model1, model2)]
    chosen = None if layers is None else _layers(layers, counts)
    from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy
    from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
    from lazarus_probe.introspection.lens.comparison import compare_models

    strategy = LayerStrategy.EVENLY_SPACED if chosen is None else LayerStrategy.CUSTOM
    config = AnalysisConfig(layer_strategy=strategy, custom_layers=chosen, top_k=top_k, track_tokens=tokens)
    first = ModelAnalyzer.from_pretrained(model1, adapter_path=adapter1)
    second = ModelAnalyzer.from_pretrained(model2, adapter_path=adapter2)
    comparisons = compare_models(first, second, texts, config)
    results = [comparison.as_data() for comparison in comparisons]
    data = results[0] if len(results) == 1 else {"results": results}
    data = data | {"about": [about(analyzer.subject) for analyzer in (first, second)]}
    deliver(data, f"\n\n{RULE}\n\n".join(map(_text, comparisons)), as_json=as_json, output=output)


def _layers(text: str, counts: list[int]) -> list[int]:
    """Layers that both models have; one counted from the last must be the same in both.

    Raises:
        ValueError: a layer that one of them does not have, or that is another one in each.
    """
    first, second = (parse_layers(text, count) for count in counts)
    if first != second:
        raise ValueError(
            f"--layers {text} is {first} of model 1 and {second} of model 2; name the same layers of both"
        )
    return first


def _text(comparison: ComparisonResult) -> str:
    parts = [
        f"Comparing: {comparison.prompt!r}",
        comparison.table().text(gap=GAP),
        _divergence(comparison),
        _lens(comparison),
    ]
    if comparison.results[0].token_evolutions:
        parts.append(_evolutions(comparison))
    return "\n\n".join(parts)


def _divergence(comparison: ComparisonResult) -> str:
    same = "the same" if comparison.same_top_token else "another"
    if comparison.final_kl is None:
        return (
            f"The models predict {same} token. Their tokens differ, so these are matched by text:\n"
            f"  JS at least {comparison.final_js:.4f} nats"
        )
    return f"The models predict {same} token: KL {comparison.final_kl:.4f}, JS {comparison.final_js:.4f} nats"


def _lens(comparison: ComparisonResult) -> str:
    lenses = [{layer.layer_idx: layer for layer in result.layer_predictions} for result in comparison.results]
    divergences = {layer.layer_idx: layer for layer in comparison.layer_divergences}
    rows = []
    for layer in sorted({*lenses[0], *lenses[1]}):
        tops = [
            f"{lens[layer].top_token!r} ({lens[layer].top_probability:.4f})" if layer in lens else None
            for lens in lenses
        ]
        distance = divergences.get(layer)
        distances = (distance.kl_divergence, distance.js_divergence) if distance else (None, None)
        rows.append((f"L{layer}", *tops, *distances))
    models = [result.model_id for result in comparison.results]
    table = Table(("Layer", *models, Column("KL", ".4f"), Column("JS", ".4f")), rows)
    return "=== Logit Lens (top prediction at each layer) ===\n" + table.text(gap=GAP)


def _evolutions(comparison: ComparisonResult) -> str:
    lines = ["=== Token Evolution ==="]
    for pair in zip(*(result.token_evolutions for result in comparison.results), strict=True):
        lines.append(f"Token {pair[0].token!r}:")
        for result, evolution in zip(comparison.results, pair, strict=True):
            layer, count = evolution.emergence_layer, len(evolution.pieces)
            emerges = "never on top" if layer is None else f"emerges at layer {layer}"
            final = next(reversed(evolution.layer_probabilities.values()))
            pieces = f" (of {evolution.pieces[0]!r}, the first of {count} tokens)" if count > 1 else ""
            if evolution.spellings and list(evolution.spellings) != [evolution.token]:
                pieces = f" (of {len(evolution.spellings)} spellings, mostly {evolution.spelling!r})"
            lines.append(f"  {result.model_id}: {emerges}, final prob {final:.4f}{pieces}")
    return "\n".join(lines)
