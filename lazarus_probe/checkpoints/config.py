"""Translating a checkpoint's config.json into the names that mlx-lm reads.

transformers 5 writes some settings under names other than those mlx-lm looks for, and mlx-lm silently drops unknown
settings. Settings that can be translated are translated; others are refused here. What mlx-lm computes differently from
transformers whatever the configuration says is handled by `differences`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any

from lazarus_probe.checkpoints.errors import LoadError

# mlx-lm's name for the rotary base of sliding layers; other models use one base for all layers.
SLIDING_THETA = {
    "gemma3_text": "rope_local_base_freq",
    "gemma3n": "rope_local_base_freq",
    "mimo_v2_flash": "swa_rope_theta",
}
# Models that scale the rotary embedding of their full-attention layers only, and have one base for all.
UNSCALED_SLIDING = frozenset({"olmo3"})
ROPE_NAMES = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
SAME = {"n_ctx": "n_positions", "block_dim": "hidden_size"}
UNSCALED = frozenset(
    {"default", "mrope"}
)  # for text alone each token has one position, and mrope is plain rope


@dataclass(frozen=True)
class Section:
    """The settings of the language model in a configuration, and the mlx-lm arguments built from them.

    Attributes:
        kind: the mlx-lm module whose arguments they are.
        settings: the configuration itself, or its `text_config`.
        accepted: the names of the arguments.
        required: those without a default.
        arguments: their class.
    """

    kind: str
    settings: dict[str, Any]
    accepted: frozenset[str]
    required: frozenset[str] = frozenset()
    arguments: type = object


def section_of(config: dict[str, Any], model_class: type, args_class: type) -> Section:
    """The part of a configuration that describes the language model.

    Args:
        config: a configuration as config.json holds it.
        model_class: mlx-lm's model for it.
        args_class: mlx-lm's arguments for it.
    """
    settings = _text(config) or config
    if _text(config) or "text_config" in _names(args_class):
        args_class = _text_args(model_class, args_class, settings)
    required = {
        field.name
        for field in (fields(args_class) if is_dataclass(args_class) else ())
        if field.default is MISSING and field.default_factory is MISSING
    }
    kind = args_class.__module__.rpartition(".")[2]
    return Section(
        kind, settings, _names(args_class) or frozenset(settings), frozenset(required), arguments=args_class
    )


def translated(config: dict[str, Any], model_class: type, args_class: type) -> dict[str, Any]:
    """The changes to a configuration with which mlx-lm reads every setting that it supports.

    Raises:
        LoadError: a setting has no corresponding argument of mlx-lm's model, or contradicts another.
    """
    section = section_of(config, model_class, args_class)
    changes = {**_renamed(section), **_rope(section), **_pattern(section)}
    changes |= _absent(section, {**section.settings, **changes})
    text = _text(config)
    if not text:
        return changes
    # Global settings that transformers 5 writes at one of the two levels, and mlx-lm reads at the other.
    tied = config.get("tie_word_embeddings")
    if tied is not None and "tie_word_embeddings" in section.accepted:
        changes["tie_word_embeddings"] = tied
    outer = {name: text[name] for name in _names(args_class) - set(config) if name in text}
    return {**outer, "text_config": {**text, **changes}}


def _absent(section: Section, settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments that mlx-lm requires and transformers omits if they follow from others."""
    missing = section.required - set(settings)
    derived: dict[str, Any] = {}
    if "head_dim" in missing and settings.get("hidden_size") and settings.get("num_attention_heads"):
        derived["head_dim"] = settings["hidden_size"] // settings["num_attention_heads"]
    if "rope_scaling" in missing:
        derived["rope_scaling"] = None
    if "norm_topk_prob" in missing and settings.get("model_type") == "qwen3_vl_moe_text":
        derived["norm_topk_prob"] = True
    return derived


def rope_settings(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of each rotary embedding in a configuration, under either of their names."""
    nested = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    by_type = [value for value in nested.values() if isinstance(value, dict)]
    return by_type or [nested]


def rope_type(settings: dict[str, Any]) -> str:
    """How a rotary embedding is scaled: "default", "linear", "yarn" and so on."""
    return settings.get("rope_type") or settings.get("type") or "default"


def _rope(section: Section) -> dict[str, Any]:
    nested = section.settings.get("rope_parameters")
    if not nested or "rope_parameters" in section.accepted:
        return {}
    by_type = {name: value for name, value in nested.items() if isinstance(value, dict)}
    lifted = _of_layer_types(section, by_type) if by_type else _lifted(section, nested)
    for key, value in lifted.items():
        if key not in section.accepted:
            raise LoadError(f"rope_parameters set {key} to {value}, which mlx-lm's {section.kind} ignores")
        existing = section.settings.get(key)
        if existing is not None and _alike(existing) != _alike(value):
            raise LoadError(f"config.json gives {key} twice: {existing}, and {value} in rope_parameters")
    return lifted


def _alike(value: Any) -> Any:
    """A value in normal form, for comparison."""
    if not isinstance(value, dict):
        return value
    skipped = ("type", "rope_type", "rope_theta")
    return {"type": rope_type(value), **{k: v for k, v in value.items() if k not in skipped}}


def _of_layer_types(section: Section, by_type: dict[str, dict[str, Any]]) -> dict[str, Any]:
    full = by_type.get("full_attention", next(iter(by_type.values())))
    if all(value == full for value in by_type.values()):
        return _lifted(section, full)
    sliding = by_type.get("sliding_attention", {})
    key = SLIDING_THETA.get(section.kind)
    others = {key: value for key, value in sliding.items() if key not in ("rope_theta", "rope_type")}
    plain = rope_type(sliding) == "default" and all(full.get(key) == value for key, value in others.items())
    if len(by_type) == 2 and plain and key in section.accepted:
        return {**_lifted(section, full), str(key): sliding.get("rope_theta")}
    same_theta = sliding.get("rope_theta") == full.get("rope_theta")
    if len(by_type) == 2 and plain and same_theta and section.kind in UNSCALED_SLIDING:
        return _lifted(section, full)
    raise LoadError(
        f"rope_parameters differ between layer types ({', '.join(by_type)}), which mlx-lm's {section.kind} "
        "does not support"
    )


def _lifted(section: Section, nested: dict[str, Any]) -> dict[str, Any]:
    scaling = dict(nested)
    lifted: dict[str, Any] = {}
    for key, mlx_name in ROPE_NAMES.items():
        if key in scaling:
            name = mlx_name if mlx_name in section.accepted else key
            value = scaling.pop(key)
            if name in section.accepted or not _hard_coded(section, key, value):
                lifted[name] = value
    original = "original_max_position_embeddings"
    if original in scaling and original in section.accepted:
        lifted[original] = scaling[original]
    if rope_type(nested) in UNSCALED:
        return lifted
    # Some models require the older of the two names, some the newer.
    return {**lifted, "rope_scaling": {**scaling, "type": rope_type(nested), "rope_type": rope_type(nested)}}


def _hard_coded(section: Section, key: str, value: Any) -> bool:
    return key == "partial_rotary_factor" and value == (0.5 if section.kind == "recurrent_gemma" else 1)


def _renamed(section: Section) -> dict[str, Any]:
    """Missing arguments that are present under transformers' current names."""
    settings = section.settings
    return {
        name: settings[written]
        for name, written in {**SAME, **_transformers_names(str(settings.get("model_type")))}.items()
        if name in section.accepted and name not in settings and settings.get(written) is not None
    }


def _transformers_names(model_type: str) -> dict[str, str]:
    from transformers import CONFIG_MAPPING

    try:
        return dict(CONFIG_MAPPING[model_type].attribute_map)
    except KeyError:
        return {}


def _pattern(section: Section) -> dict[str, Any]:
    """The sliding-window pattern, for models that take one instead of each layer's type."""
    types, key = section.settings.get("layer_types"), "sliding_window_pattern"
    if not types or key not in section.accepted or "layer_types" in section.accepted:
        return {}
    if section.kind == "exaone4":
        sliding = "".join("L" if kind == "sliding_attention" else "G" for kind in types)
        return {key: sliding if "L" in sliding else None}
    period = types.index("full_attention") + 1 if "full_attention" in types else 0
    kinds = (
        "full_attention" if period and (i + 1) % period == 0 else "sliding_attention"
        for i in range(len(types))
    )
    if not period or types != list(kinds):
        raise LoadError(
            f"layer_types are {', '.join(types)}; mlx-lm's {section.kind} needs full attention in every n-th layer"
        )
    return {key: period}


def _text_args(model_class: type, args_class: type, text: dict[str, Any]) -> type:
    for parent in model_class.__mro__:
        module = vars(sys.modules[parent.__module__])
        for args in module.values():
            if is_dataclass(args) and args is not args_class and "num_hidden_layers" in _names(args):
                return args  # type: ignore[return-value]
        inner = dict(_inner(module))
        if inner:
            kind = str(text.get("model_type", "")).removesuffix("_text")
            return inner.get(kind) or inner.get(f"{kind}_text") or next(iter(inner.values()))
    return args_class


def _inner(module: dict[str, Any]) -> Iterator[tuple[str, type]]:
    for name, value in module.items():
        if isinstance(value, ModuleType) and hasattr(value, "ModelArgs"):
            yield name, value.ModelArgs


def _text(config: dict[str, Any]) -> dict[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, dict) else {}


def _names(args: Any) -> frozenset[str]:
    return frozenset(field.name for field in fields(args)) if is_dataclass(args) else frozenset()
