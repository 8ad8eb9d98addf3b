"""What is ablated, and what replaces it; light to import, for options of the command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ComponentType(StrEnum):
    """What is ablated: the MLP or attention as a whole, both, or one step inside them.

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationStudy, ComponentType
        >>> config = AblationConfig(component=ComponentType.MLP_GATE, max_new_tokens=4)
        >>> AblationStudy(subject).ablate_and_generate("7*8=", layers=range(8), config=config) == "56"
        False
    """

    MLP = "mlp"
    ATTENTION = "attention"
    BOTH = "both"
    MLP_GATE = "mlp_gate"
    MLP_UP = "mlp_up"
    MLP_DOWN = "mlp_down"
    ATTN_Q = "attn_q"
    ATTN_K = "attn_k"
    ATTN_V = "attn_v"
    ATTN_O = "attn_o"


class AblationType(StrEnum):
    """What replaces an output.

    | type | replacement |
    |---|---|
    | mean | the mean over reference prompts |
    | zero | zeros, as in published numbers; rarely a value that occurs in the model |
    | resample | at every position a random reference row, as in causal scrubbing |
    | noise | at every position a draw from the Gaussian with the reference rows' mean and deviation, by coordinate |

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationType
        >>> AblationConfig(ablation_type="resample").ablation_type is AblationType.RESAMPLE
        True
    """

    MEAN = "mean"
    ZERO = "zero"
    RESAMPLE = "resample"
    NOISE = "noise"


@dataclass(frozen=True)
class AblationConfig:
    """How to ablate and generate.

    Attributes:
        ablation_type: what replaces outputs. Zero is the published method; `mean` and `resample` use values that occur
            in the model.
        component: what is ablated.
        max_new_tokens: most tokens to generate.
        temperature: 0 for greedy decoding; above, tokens are sampled.
        seed: of tokens, replacements and random controls.

    Raises:
        ValueError: fewer than one token, or a temperature below 0.

    Example:
        >>> from lazarus_probe.introspection import AblationConfig, AblationStudy, AblationType
        >>> config = AblationConfig(ablation_type=AblationType.MEAN, component="mlp", max_new_tokens=4)
        >>> study = AblationStudy(subject, reference=["The cat saw the ball.", "12+30=", "9-2="])
        >>> study.ablate_and_generate("7*8=", layers=range(8), config=config) == "56"
        False
    """

    ablation_type: AblationType = AblationType.ZERO
    component: ComponentType = ComponentType.MLP
    max_new_tokens: int = 60
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "ablation_type", AblationType(self.ablation_type))
        object.__setattr__(self, "component", ComponentType(self.component))
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; at least 1 is needed")
        if self.temperature < 0:
            raise ValueError(f"temperature is {self.temperature}; 0 or more is needed")
