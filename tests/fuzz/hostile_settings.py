"""Settings of a checkpoint that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hostile import Hostile
from hostile_folders import changed, generate_input

SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)
# What is no size: too small, too large, no number, no whole one.
NO_SIZE = (0, -1, 10**7, 10**9, 10**30, "512", 1.5, float("nan"), float("inf"), [], {}, True, [[4]], "")
NULL_MEANS_DEFAULT = ("num_key_value_heads", "head_dim")
OTHER_VALUES: dict[str, tuple[Any, ...]] = {
    "model_type": (
        None,
        5,
        [],
        {},
        "",
        "..",
        "../llama",
        "zzz",
        "llama\n",
        "a\0b",
        "os",
        "__init__",
        "\ud800",
        "base",
        "cache",
    ),
    "rms_norm_eps": (None, "x", float("nan"), float("inf"), [], -1.0),
    "rope_theta": (None, "x", float("nan"), [], 0, -1.0, float("inf")),
    "eos_token_id": ("x", 1.5, {}, [[]], ["x"], 10**30, True, [None]),
    "max_position_embeddings": ("512", -1, 0, 1.5, float("nan"), [], 10**30, True),
    "tie_word_embeddings": ("no", 5, []),
    "rope_scaling": (
        5,
        "x",
        [],
        {"type": 5},
        {"type": "zzz"},
        {"rope_type": "linear", "factor": "x"},
        {"type": "llama3"},
    ),
    "rope_parameters": (
        5,
        "x",
        [1],
        {"rope_theta": "x"},
        {"full_attention": {"rope_theta": None}},
        {"rope_theta": float("nan")},
    ),
    "quantization": (
        5,
        "x",
        [1],
        {},
        {"bits": 4},
        {"bits": "x", "group_size": 32},
        {"bits": 0, "group_size": 0},
        {"bits": 10**9, "group_size": -1},
    ),
    "quantization_config": (
        "awq",
        5,
        [1],
        {"quant_method": "awq"},
        {"quant_method": 5},
        {"quant_method": "gptq", "bits": "x"},
        {"quant_method": "compressed-tensors"},
        {"bits": 4},
    ),
    "layer_types": (5, "x", [], [5], ["zzz"] * 2, ["sliding_attention"] * 2, ["full_attention"] * 10**5),
    "text_config": (5, [1], "x"),
    "architectures": (5, {"a": 1}),
    "sliding_window": ("x", -5, 0),
    "attention_bias": (True, "x"),
}
# Values that mlx-lm does not look at, or takes for what they are.
READ = {
    "architectures",
    "text_config",
    "sliding_window",
    "tie_word_embeddings",
    "max_position_embeddings",
    "rope_theta",
    "rms_norm_eps",
    "layer_types",
    "rope_scaling",
    "rope_parameters",
    "quantization",
    "quantization_config",
    "eos_token_id",
}


def sizes() -> Iterator[Hostile]:
    """Sizes that are none, or that the weights do not have."""
    for key in SIZES:
        for value in (None, *NO_SIZE):
            harmless = value is None and key in NULL_MEANS_DEFAULT
            yield generate_input(
                "sizes in config.json",
                f"{key}={value!r}"[:60],
                changed("config.json", **{key: value}),
                harmless,
            )


def settings() -> Iterator[Hostile]:
    """Other settings with values of the wrong type or range."""
    for key, values in OTHER_VALUES.items():
        for value in values:
            name = f"{key}={str(value)[:30]!r}"
            yield generate_input(
                "settings in config.json", name, changed("config.json", **{key: value}), key in READ
            )
