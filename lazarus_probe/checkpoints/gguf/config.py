"""What a Hugging Face config.json would say of the model in a GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.architectures import ARCHITECTURES, Architecture
from lazarus_probe.checkpoints.gguf.reader import GgufFile
from lazarus_probe.checkpoints.gguf.rope import rope_scaling
from lazarus_probe.checkpoints.gguf.settings import Settings
from lazarus_probe.spelling import nearest

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
PATTERN = "attention.sliding_window_pattern"
KEY_HEADS = "attention.head_count_kv"
LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}  # which scale scores by their width per head, not by the head's
# Other names that mlx-lm's models have for the same setting.
SYNONYMS = {
    "hidden_size": ("n_embd",),
    "num_hidden_layers": ("n_layer", "num_layers"),
    "num_attention_heads": ("n_head",),
    "intermediate_size": ("n_inner",),
    "rms_norm_eps": ("norm_eps", "layer_norm_epsilon"),
    "layer_norm_eps": ("layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "rope_theta": ("rotary_emb_base",),
    "partial_rotary_factor": ("rotary_pct",),
    "num_experts": ("num_local_experts", "n_routed_experts"),
    "qk_norm": ("use_qk_norm", "qk_layernorm"),
    "attention_bias": ("use_qkv_bias",),
}


def architecture_of(file: GgufFile) -> Architecture:
    """The architecture of the model in a file.

    Raises:
        LoadError: it is not loaded; the message names it.
    """
    name, kind = file.architecture, file.metadata.get("general.type", "model")
    if kind != "model":
        raise LoadError(f"{file.path}: general.type is {ascii(kind)[:60]}; a model is needed")
    if name not in ARCHITECTURES:
        close = nearest(name, ARCHITECTURES)
        guess = f"did you mean {close}? " if close else ""
        raise LoadError(
            f"{file.path}: general.architecture is {ascii(name)[:60]}, which is not loaded; {guess}loaded are "
            f"{', '.join(sorted(ARCHITECTURES))}"
        )
    return ARCHITECTURES[name]


def config_of(file: GgufFile) -> dict[str, Any]:
    """The configuration of the model in a file, under the names of Hugging Face's config.json.

    Raises:
        LoadError: the architecture is not loaded, or a setting is missing or wrong; the message names it.
    """
    architecture = architecture_of(file)
    settings = Settings(file, f"{architecture.name}.")
    config = {"model_type": architecture.model_type, **_sizes(settings), **_norms(settings), **_flags(file)}
    config |= _rotation(settings, config["head_dim"])
    config |= _attention(settings) | _experts(settings) | _ends(file)
    if special := SPECIAL.get(architecture.name):
        config |= special(settings, config)
    return config


def spelled(config: dict[str, Any], accepted: frozenset[str]) -> dict[str, Any]:
    """A configuration with each setting under the name that a model of mlx-lm has for it."""
    config = dict(config)
    for name, others in SYNONYMS.items():
        if name in config and name not in accepted:
            value = config[name]
            for other in others:
                if other in accepted and other not in config:
                    config[other] = value
                    config.pop(name, None)
    return config


def _sizes(settings: Settings) -> dict[str, Any]:
    file = settings.file
    if EMBEDDING not in file.tensors or len(file.tensors[EMBEDDING].shape) != 2:
        raise LoadError(f"{file.path}: the tensor {EMBEDDING} is missing, or no matrix")
    width, heads = settings.integer("embedding_length"), settings.integer("attention.head_count")
    if width != file.tensors[EMBEDDING].shape[1]:
        raise LoadError(
            f"{file.path}: {settings.prefix}embedding_length is {width}, and the tensor {EMBEDDING} has rows of "
            f"{file.tensors[EMBEDDING].shape[1]}"
        )
    config = {
        "num_hidden_layers": settings.integer("block_count"),
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": _key_heads(settings, heads),
        "head_dim": settings.integer("attention.key_length", max(1, width // heads)),
        "vocab_size": file.tensors[EMBEDDING].shape[0],
        "max_position_embeddings": settings.integer("context_length"),
    }
    if config["num_hidden_layers"] > len(file.tensors):
        raise LoadError(
            f"{file.path}: {settings.prefix}block_count is {config['num_hidden_layers']}, and the file has "
            f"{len(file.tensors)} tensors"
        )
    value_length = settings.integer("attention.value_length", config["head_dim"])
    if value_length != config["head_dim"]:
        raise LoadError(
            f"{file.path}: {settings.prefix}attention.value_length is {value_length}, and the keys' is "
            f"{config['head_dim']}; only equal ones are loaded"
        )
    if settings.has("feed_forward_length"):
        config["intermediate_size"] = settings.integer("feed_forward_length", least=0)
    return config


def _key_heads(settings: Settings, heads: int) -> int:
    """How many heads of keys there are; layers without attention have none."""
    by_layer = settings.file.metadata.get(f"{settings.prefix}{KEY_HEADS}")
    if isinstance(by_layer, np.ndarray) and len(counts := np.unique(by_layer[by_layer != 0])) == 1:
        return int(counts[0])
    return settings.integer(KEY_HEADS, heads)


def _norms(settings: Settings) -> dict[str, Any]:
    rms, other = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"
    if settings.has(rms):
        return {"rms_norm_eps": settings.number(rms)}
    return {"layer_norm_eps": settings.number(other, 1e-5)}


def _flags(file: GgufFile) -> dict[str, Any]:
    """What the tensors that are there say."""
    biases = {
        name.split(".")[2] for name in file.tensors if name.startswith("blk.") and name.endswith(".bias")
    }
    return {
        "tie_word_embeddings": HEAD not in file.tensors,
        "attention_bias": bool({"attn_q", "attn_qkv"} & biases),
        "attention_out_bias": "attn_output" in biases,
        "mlp_bias": "ffn_up" in biases,
        "layer_norm_bias": "attn_norm" in biases,
        "use_bias": bool({"attn_q", "ffn_up"} & biases),
        "bias": "attn_q" in biases,
        "qk_norm": "blk.0.attn_q_norm.weight" in file.tensors,
    }


def _rotation(settings: Settings, head_dim: int) -> dict[str, Any]:
    dims = settings.integer("rope.dimension_count", head_dim)
    if dims > head_dim:
        raise settings.wrong("rope.dimension_count", f"at most the {head_dim} dimensions of a head")
    base = settings.number("rope.freq_base", settings.number("rope.global.freq_base", 10_000.0))
    if base <= 0:
        raise settings.wrong("rope.freq_base", "a positive number")
    rotation: dict[str, Any] = {"rope_theta": base, "partial_rotary_factor": dims / head_dim}
    scaling = rope_scaling(settings, dims, base)
    if scaling is not None:
        rotation["rope_scaling"] = scaling
        if "original_max_position_embeddings" in scaling:
            rotation["original_max_position_embeddings"] = scaling["original_max_position_embeddings"]
    return rotation


def _attention(settings: Settings) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if settings.integer("attention.sliding_window", 0, least=0):
        config["sliding_window"] = settings.integer("attention.sliding_window")
    pattern = settings.file.metadata.get(f"{settings.prefix}{PATTERN}")
    if isinstance(pattern, np.ndarray):
        config["layer_types"] = ["sliding_attention" if slides else "full_attention" for slides in pattern]
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if settings.has(name):
            config[name] = settings.number(name)
    return config


def _experts(settings: Settings) -> dict[str, Any]:
    if not settings.integer("expert_count", 0, least=0):
        return {}
    config: dict[str, Any] = {
        "num_experts": settings.integer("expert_count"),
        "num_experts_per_tok": settings.integer("expert_used_count"),
    }
    for key, name in (
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ):
        if settings.has(key):
            config[name] = settings.integer(key)
    return config


def _ends(file: GgufFile) -> dict[str, Any]:
    tokens = Settings(file, "tokenizer.ggml.")
    return {
        f"{name}_token_id": tokens.integer(f"{name}_token_id", least=0)
        for name in ("bos", "eos")
        if tokens.has(f"{name}_token_id")
    }


def _llama(_: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": "mixtral"} if "num_experts" in config else {}


def _mistral3(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    rotation = {**config.get("rope_scaling", {}), "rope_theta": config["rope_theta"]}
    scale = settings.number("attention.temperature_scale", 0.0)
    return {
        "rope_parameters": {
            "rope_type": "default",
            "type": "default",
            **rotation,
            "llama_4_scaling_beta": scale,
            "original_max_position_embeddings": settings.integer(
                "rope.scaling.original_context_length", config["max_position_embeddings"]
            ),
        },
        "rope_scaling": None,
    }


def _gemma2(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    soft_caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return {
        **{name: config.get(name, cap) for name, cap in soft_caps.items()},
        **_score_scale(settings, config),
    }


def _score_scale(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    """What scores are divided by the root of."""
    if settings.has("attention.scale"):
        return {"query_pre_attn_scalar": 1 / settings.number("attention.scale") ** 2}
    per_head = config["hidden_size"] / config["num_attention_heads"]
    largest = config["num_hidden_layers"] == LAYERS_OF_27B[settings.prefix[:-1]]
    return {"query_pre_attn_scalar": per_head if largest else config["head_dim"]}


def _gemma3(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "rope_local_base_freq": settings.number(
            "rope.freq_base_swa", settings.number("rope.local.freq_base", 10_000.0)
        ),
        **_every(settings, config, 6),
        **_score_scale(settings, config),
    }


def _granite(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "embedding_multiplier": settings.number("embedding_scale", 1.0),
        "residual_multiplier": settings.number("residual_scale", 1.0),
        "attention_multiplier": settings.number("attention.scale", 1 / sqrt(config["head_dim"])),
        "logits_scaling": settings.number("logit_scale", 1.0),
    }


def _minicpm(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    depth, width = config["num_hidden_layers"], config["hidden_size"]
    return {
        "scale_emb": settings.number("embedding_scale", 12.0),
        "scale_depth": settings.number("residual_scale", 1.4 / sqrt(depth)) * sqrt(depth),
        "dim_model_base": width / settings.number("logit_scale", width / 256),
    }


def _cohere(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {"logit_scale": settings.number("logit_scale"), **_every(settings, config, 4)}


def _every(settings: Settings, config: dict[str, Any], default: int) -> dict[str, Any]:
    """Every how manieth layer has no window, where the file does not say it of each layer."""
    return {} if "layer_types" in config else {"sliding_window_pattern": settings.integer(PATTERN, default)}


def _olmo2(_: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": "olmo3"} if "sliding_window" in config else {}


def _exaone4(_: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "sliding_window": config.get("sliding_window"),
        "sliding_window_pattern": "LLLG" if "sliding_window" in config else None,
        "rope_scaling": config.get("rope_scaling"),
    }


def _qwen3_moe(*_: object) -> dict[str, Any]:
    return {"norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": []}


def _feed_forward_of_experts(_: Settings, config: dict[str, Any]) -> dict[str, Any]:
    return {"moe_intermediate_size": config.get("moe_intermediate_size", config.get("intermediate_size"))}


def _lfm2(settings: Settings, config: dict[str, Any]) -> dict[str, Any]:
    by_layer = settings.file.metadata.get(f"{settings.prefix}{KEY_HEADS}")
    if not isinstance(by_layer, np.ndarray) or len(by_layer) != config["num_hidden_layers"]:
        raise settings.wrong(KEY_HEADS, f"an array of {config['num_hidden_layers']} whole numbers")
    return {
        "full_attn_idxs": [int(layer) for layer in np.flatnonzero(by_layer)],
        "conv_L_cache": settings.integer("shortconv.l_cache"),
        "conv_bias": any(name.endswith("shortconv.in_proj.bias") for name in settings.file.tensors),
        "block_dim": config["hidden_size"],
        "block_ff_dim": settings.integer("feed_forward_length"),
        "block_auto_adjust_ff_dim": False,
        "block_multiple_of": 1,
        "block_ffn_dim_multiplier": 1.0,
    }


def _deepseek(settings: Settings, _: dict[str, Any]) -> dict[str, Any]:
    return {
        "n_shared_experts": settings.integer("expert_shared_count"),
        "first_k_dense_replace": settings.integer("leading_dense_block_count", 0, least=0),
        "moe_layer_freq": 1,
    }


# What an architecture needs beyond what all have in common.
SPECIAL: dict[str, Callable[[Settings, dict[str, Any]], dict[str, Any]]] = {
    "llama": _llama,
    "mistral3": _mistral3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "granite": _granite,
    "granitemoe": _granite,
    "minicpm": _minicpm,
    "command-r": _cohere,
    "cohere2": _cohere,
    "olmo2": _olmo2,
    "exaone4": _exaone4,
    "gptneox": lambda settings, _: {"use_parallel_residual": settings.flag("use_parallel_residual", True)},
    "gpt2": lambda _, config: {
        "n_ctx": config["max_position_embeddings"],
        "n_positions": config["max_position_embeddings"],
    },
    "starcoder": lambda _, config: {
        "n_positions": config["max_position_embeddings"],
        "multi_query": config["num_key_value_heads"] == 1,
    },
    "stablelm": lambda settings, _: {"use_parallel_residual": settings.flag("use_parallel_residual", False)},
    "nemotron": lambda *_: {"hidden_act": "relu2"},
    "lfm2": _lfm2,
    "deepseek": _deepseek,
    "qwen2moe": _feed_forward_of_experts,
    **dict.fromkeys(("qwen3moe", "qwen3vlmoe"), _qwen3_moe),
}
