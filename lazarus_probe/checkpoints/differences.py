"""Where mlx-lm's computation differs from a checkpoint's configuration.

mlx-lm drops every setting without a corresponding argument, and a few of its models drop more. Each rule here was
measured against transformers on random models (tests/parity): a setting that changes every prompt is refused, one that
changes some prompts, or all of them slightly, is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log, sqrt
from typing import Any

import mlx.core as mx

from lazarus_probe.checkpoints.config import UNSCALED, Section, rope_settings, rope_type
from lazarus_probe.checkpoints.errors import LoadError


class CheckpointWarning(UserWarning):
    """A checkpoint that mlx-lm computes differently from its configuration, for some prompts or slightly.

    Example:
        >>> import warnings
        >>> from lazarus_probe import Subject
        >>> from lazarus_probe.subject import CheckpointWarning
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", CheckpointWarning)  # such a checkpoint is not used
        ...     subject = Subject.load("organism")
    """


EVERY_LOGIT = "every logit would differ from transformers'"

# The activation in each model's code: silu if not listed, None if it has no name.
ACTIVATION = {
    "apertus": "xielu",
    "bitnet": "relu2",
    "gemma": "gelu",
    "gemma2": "gelu_pytorch_tanh",
    "gemma3_text": "gelu_pytorch_tanh",
    "gemma3n": "gelu_pytorch_tanh",
    "gemma4_text": "gelu_pytorch_tanh",
    "gpt2": "gelu_new",
    "gpt_bigcode": "gelu",
    "gpt_neox": "gelu_new",
    "gptj": "gelu_new",
    "nanochat": "relu2",
    "nemotron": "relu2",
    "nemotron_h": "relu2",
    "phi": "gelu_new",
    "phi3small": None,
    "phixtral": None,
    "recurrent_gemma": "gelu_pytorch_tanh",
    "rwkv7": None,
    "starcoder2": "gelu",
}
ACTIVATION_KEYS = ("hidden_activation", "hidden_act", "activation_function", "mlp_hidden_act")
SYNONYMS = {"gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh", "swish": "silu"}
GELUS = frozenset({"gelu", "gelu_pytorch_tanh"})

# Settings that change every prompt, with the values at which they change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_multiplier": (None, 1),
    "attn_logit_softcapping": (None,),
    "embedding_multiplier": (None, 1),
    "final_logit_softcapping": (None,),
    "logit_scale": (None, 1),
    "logits_scaling": (None, 1),
    "mamba_hidden_act": (None, "silu"),
    "moe_apply_router_weight_on_input": (None, False),
    "norm_topk_prob": (None, False),
    "partial_rotary_factor": (None, 1),
    "residual_multiplier": (None, 1),
    "rope_interleave": (None, True),
    "scale_attn_by_inverse_layer_idx": (None, False),
    "scale_attn_weights": (None, True),
    "use_bidirectional_attention": (None, False, "vision"),
}
# Constants in a model's code in place of a setting.
HARD_CODED: dict[str, dict[str, Any]] = {
    "gpt_oss": {"swiglu_alpha": 1.702, "swiglu_limit": 7.0},
    "nanochat": {"final_logit_softcapping": 15.0},
    "recurrent_gemma": {"partial_rotary_factor": 0.5},
}
# Models that accept the scaling of the rotary embedding as an argument but never use it.
UNUSED_SCALING = frozenset(
    {"gemma3n", "glm4_moe", "lfm2", "lfm2_moe", "mixtral", "qwen2_moe", "qwen3_moe", "solar_open"}
)
# Models that use the window only in the layers listed in `layer_types`.
WINDOW_BY_LAYER = frozenset({"llama", "ministral3"})
# Models that support some types of scaling, and ignore or misread the others.
SCALINGS = {
    "minicpm3": ("longrope", "su"),
    "phi3": ("longrope", "su", "linear"),
    "phimoe": ("longrope", "su"),
}
# Models that scale their embeddings by the root of the width, and whether mlx-lm or transformers rounds it to bfloat16.
ROUNDED_EMBEDDING = {"gemma3_text": True, "recurrent_gemma": False}


def differences(section: Section) -> list[str]:
    """The differences between mlx-lm's and transformers' computation, one line each.

    Raises:
        LoadError: a setting that mlx-lm ignores changes every prompt.
    """
    _refuse_dropped(section)
    ropes = rope_settings(section.settings)
    for rope in ropes:
        _refuse_rope(section, rope)
    lines = [line for rope in ropes for line in _rope(section, rope)]
    lines += [*_activation(section), *_window(section), *_clip(section), *_model(section)]
    return list(dict.fromkeys(lines))


def _refuse_dropped(section: Section) -> None:
    coded = {key: (value,) for key, value in HARD_CODED.get(section.kind, {}).items()}
    for key, neutral in {**NEUTRAL, **coded}.items():
        value = section.settings.get(key, neutral[0])
        if key not in section.accepted and value not in neutral:
            raise _ignored(section, f"config.json sets {key} to {value}")


def _refuse_rope(section: Section, rope: dict[str, Any]) -> None:
    kind = rope_type(rope)
    taken = {"rope_scaling", "rope_parameters"} & section.accepted and section.kind not in UNUSED_SCALING
    if kind not in UNSCALED and not (taken and kind in SCALINGS.get(section.kind, (kind,))):
        raise _ignored(section, f"config.json scales the rotary embedding ({kind})")
    requested, used = _magnitudes(section, rope)
    if requested is not None and abs(requested - used) > 1e-4:
        raise LoadError(
            f"config.json asks for an attention_factor of {requested:.4g} ({kind}), and mlx-lm's {section.kind} uses "
            f"{used:.4g}: {EVERY_LOGIT}"
        )


def _ignored(section: Section, setting: str) -> LoadError:
    return LoadError(f"{setting}, which mlx-lm's {section.kind} ignores: {EVERY_LOGIT}")


def _magnitudes(section: Section, rope: dict[str, Any]) -> tuple[float | None, float]:
    """The magnitude scaling of the rotary embedding: as configured, if it is, and as used by mlx-lm."""
    requested, factor = rope.get("attention_factor"), rope.get("factor")
    if rope_type(rope) == "yarn":
        # Peng et al. (2023), with the two exponents of DeepSeek-V2.
        numerator, denominator = (
            _mscale(factor or 1, rope.get(k, d)) for k, d in (("mscale", 1), ("mscale_all_dim", 0))
        )
        return requested, numerator / denominator
    original, longest = _original_length(section, rope), section.settings.get("max_position_embeddings")
    if rope_type(rope) != "longrope" or section.kind == "phimoe" or not longest:
        return None, 1.0
    if requested is None and factor is not None:
        requested = _long_magnitude(factor, original)
    return requested, _long_magnitude(longest / original, original)


def _mscale(factor: float, exponent: float) -> float:
    return 0.1 * exponent * log(factor) + 1 if factor > 1 else 1.0


def _long_magnitude(factor: float, original: int) -> float:
    """Ding et al. (2024)."""
    return sqrt(1 + log(factor) / log(original)) if factor > 1 else 1.0


def _original_length(section: Section, rope: dict[str, Any]) -> int:
    key = "original_max_position_embeddings"
    return int(rope.get(key) or section.settings.get(key) or 4096)


def _rope(section: Section, rope: dict[str, Any]) -> Iterator[str]:
    kind = rope_type(rope)
    if kind in ("longrope", "su") and rope.get("short_factor") != rope.get("long_factor"):
        yield (
            f"short_factor is ignored by mlx-lm's {section.kind}: prompts of up to {_original_length(section, rope)} "
            "tokens get other logits than in transformers (by 0.2 to 1.2 of the largest on random models), longer "
            "ones the same"
        )
    if kind == "yarn" and rope.get("truncate") is False:
        yield (
            f"truncate = false in the rotary embedding is ignored by mlx-lm's {section.kind}: logits differ from "
            "transformers' (by 4e-4 of the largest at gpt-oss's settings, by up to 0.5 at others, on random models)"
        )


def _activation(section: Section) -> Iterator[str]:
    key = next((key for key in ACTIVATION_KEYS if isinstance(section.settings.get(key), str)), None)
    used = ACTIVATION.get(section.kind, "silu")
    taken = key in section.accepted and section.kind not in ACTIVATION
    if key is None or taken or used is None:
        return
    requested = section.settings[key]
    pair = {SYNONYMS.get(name, name) for name in (requested, used)}
    mismatch = f"{key} is {requested} and mlx-lm's {section.kind} computes {used}"
    if pair == GELUS:
        yield (
            f"{mismatch}: all logits differ slightly from transformers' "
            "(by 1e-4 to 2e-3 of the largest on random models)"
        )
    elif len(pair) > 1:
        raise LoadError(f"config.json: {mismatch}: {EVERY_LOGIT}")


def _window(section: Section) -> Iterator[str]:
    window = section.settings.get("sliding_window")
    if window and _slides(section) and window < section.settings.get("max_position_embeddings", float("inf")):
        yield (
            f"sliding_window = {window} is ignored by mlx-lm's {section.kind}: prompts of more than {window} tokens "
            "get other logits than in transformers (by 0.6 to 1.6 of the largest on random models), shorter ones "
            "the same"
        )


def _slides(section: Section) -> bool:
    """Whether some layers should have a window that mlx-lm does not give them."""
    settings, kinds = section.settings, section.settings.get("layer_types")
    taken = {"sliding_window", "sliding_window_size"} & section.accepted
    if taken and section.kind not in WINDOW_BY_LAYER:
        return False
    if kinds:
        return "sliding_attention" in kinds and section.kind not in WINDOW_BY_LAYER
    first = settings.get("max_window_layers")  # Qwen: the layers below have no window
    none_above = first is not None and first >= settings.get("num_hidden_layers", 0)
    return settings.get("use_sliding_window") is not False and not none_above


def _clip(section: Section) -> Iterator[str]:
    clip = section.settings.get("clip_qkv")
    if clip is not None and "clip_qkv" not in section.accepted:
        yield (
            f"clip_qkv = {clip} is ignored by mlx-lm's {section.kind}: logits differ from transformers' wherever a "
            "query, key or value exceeds it"
        )


def _model(section: Section) -> Iterator[str]:
    """Differences in a model's code that do not depend on the configuration."""
    settings, all_logits = section.settings, "all logits differ"
    if section.kind == "jamba" and settings.get("num_experts", 1) > 1:
        yield f"mlx-lm's jamba makes the weights of the chosen experts sum to 1: {all_logits} (by 0.2 on a random one)"
    if section.kind == "ernie4_5_moe":
        yield (
            f"mlx-lm's ernie4_5_moe leaves out the bias with which the router selects experts: {all_logits} "
            "unless it is 0 (by 0.1 to 0.3 on random models)"
        )
    factor = settings.get("hidden_size", 1) / settings.get("dim_model_base", 1)
    if section.kind == "minicpm3" and settings.get("tie_word_embeddings", True) and factor != 1:
        yield f"mlx-lm's minicpm3 does not divide tied logits by {factor:g}: all are that much larger"
    # Gemma was trained with embeddings scaled in bfloat16; each library follows that for some models only.
    exact = sqrt(settings.get("hidden_size", 1))
    scales = exact, mx.array(exact, mx.bfloat16).item()
    if section.kind in ROUNDED_EMBEDDING and scales[0] != scales[1]:
        used, expected = scales[::-1] if ROUNDED_EMBEDDING[section.kind] else scales
        yield (
            f"mlx-lm's {section.kind} multiplies embeddings by {used:.6g} instead of {expected:.6g}, as transformers "
            "does in float32: all logits differ slightly (by 1e-4 to 2e-3 of the largest on random models)"
        )
