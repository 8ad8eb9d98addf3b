"""The options of `analyze` that say what is read."""

from __future__ import annotations

from lazarus_probe.cli.parsing import parse_layers
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy


def config_of(
    strategy: LayerStrategy | None,
    step: int | None,
    all_layers: bool,
    layers: str | None,
    num_layers: int,
    top_k: int,
    track: list[str],
    residual: bool,
) -> AnalysisConfig:
    """What the options of `analyze` request.

    Raises:
        ValueError: options that choose layers in two ways, or a layer that the model does not have.
    """
    ways = {
        "--all-layers": all_layers,
        "--layers": layers is not None,
        "--layer-strategy": strategy is not None and not (strategy == "custom" and layers is not None),
    }
    options = [name for name, used in ways.items() if used]
    if len(options) > 1:
        raise ValueError(f"{' and '.join(options)} choose layers in two ways; give one of them")
    if strategy == "custom" and layers is None:
        raise ValueError("--layer-strategy custom needs --layers")
    chosen = strategy or LayerStrategy.EVENLY_SPACED
    chosen = LayerStrategy.ALL if all_layers else LayerStrategy.CUSTOM if layers is not None else chosen
    if step is not None and chosen != LayerStrategy.EVENLY_SPACED:
        raise ValueError(f"--layer-step {step} spaces layers evenly; leave it out, or {options[0]}")
    return AnalysisConfig(
        layer_strategy=chosen,
        layer_step=step or AnalysisConfig.layer_step,
        custom_layers=None if layers is None else parse_layers(layers, num_layers),
        top_k=top_k,
        track_tokens=track,
        compute_residual_decomposition=residual,
    )
