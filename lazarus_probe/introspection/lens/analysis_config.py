"""The configuration of an analysis of a prompt by the logit lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MOST_SHOWN = 100


class LayerStrategy(StrEnum):
    """Which layers are read.

    Example:
        >>> from lazarus_probe.introspection import AnalysisConfig, LayerStrategy
        >>> config = AnalysisConfig(layer_strategy=LayerStrategy.CUSTOM, custom_layers=[0, 4, -1])
        >>> config.layers(num_layers=8)
        [0, 4, 7]
    """

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
        top_k: predictions per layer, 1 to 100.
        track_tokens: texts, or token ids, whose probability and rank are followed; of a text that is several tokens
            the first piece is; the result has all of them in `pieces`.
        compute_entropy: whether each layer's entropy is computed; without it no layer counts as confident.
        compute_transitions: whether consecutive layers are compared.
        compute_residual_decomposition: whether to measure what attention and MLP write into the residual stream.

    Raises:
        ValueError: a number out of range, or custom layers without `CUSTOM` or the other way round.

    Example:
        >>> from lazarus_probe.introspection import AnalysisConfig, LayerStrategy, ModelAnalyzer
        >>> config = AnalysisConfig(layer_strategy=LayerStrategy.ALL, track_tokens=["56", "15"])
        >>> result = ModelAnalyzer(subject, config=config).run("7*8=")
        >>> [evolution.token for evolution in result.token_evolutions]
        ['56', '15']
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
        requested = list(self.custom_layers or ())
        for layer in requested:
            if not -num_layers <= layer < num_layers:
                raise IndexError(f"custom_layers: there is no layer {layer}; the model has 0 to {last}")
        return sorted({layer % num_layers for layer in requested})
