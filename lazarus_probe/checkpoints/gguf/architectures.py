"""The architectures that GGUF files name, as mlx-lm has them."""

from __future__ import annotations

from dataclasses import dataclass

# llama.cpp's names, and mlx-lm's module for each.
MODEL_TYPES = {
    "llama": "llama",
    "mistral": "llama",
    "mistral3": "ministral3",
    "qwen": "qwen",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi2": "phi",
    "phi3": "phi3",
    "phimoe": "phimoe",
    "granite": "granite",
    "granitemoe": "granitemoe",
    "gpt2": "gpt2",
    "gptneox": "gpt_neox",
    "starcoder": "gpt_bigcode",
    "starcoder2": "starcoder2",
    "stablelm": "stablelm",
    "command-r": "cohere",
    "cohere2": "cohere2",
    "olmo2": "olmo2",
    "olmoe": "olmoe",
    "smollm3": "smollm3",
    "internlm2": "internlm2",
    "minicpm": "minicpm",
    "exaone": "exaone",
    "exaone4": "exaone4",
    "nemotron": "nemotron",
    "glm4": "glm4",
    "ernie4_5": "ernie4_5",
    "hunyuan-dense": "hunyuan_v1_dense",
    "seed_oss": "seed_oss",
    "gpt-oss": "gpt_oss",
    "lfm2": "lfm2",
    "deepseek": "deepseek",
    "xverse": "llama",
    # Of models that read images the part that reads text: in a text alone, all of a token's positions are the same.
    "qwen2vl": "qwen2",
    "qwen3vl": "qwen3",
    "qwen3vlmoe": "qwen3_moe",
}
# Those whose files have the rows of queries and keys in the order for rotating neighbours (`llama_model_rope_type` in
# llama.cpp's src/llama-model.cpp); in all others a row is rotated with the one half a head further.
ROTATES_NEIGHBOURS = frozenset(
    {
        *("llama", "mistral", "mistral3", "starcoder", "internlm2", "minicpm", "command-r", "cohere2"),
        *("granite", "granitemoe", "glm4", "smollm3", "ernie4_5", "deepseek", "xverse"),
    }
)


@dataclass(frozen=True)
class Architecture:
    """An architecture that is loaded.

    Attributes:
        name: llama.cpp's.
        model_type: mlx-lm's.
        rotates_neighbours: whether the rows of queries and keys are stored for rotating neighbours.
    """

    name: str
    model_type: str
    rotates_neighbours: bool


ARCHITECTURES = {
    name: Architecture(name, model_type, name in ROTATES_NEIGHBOURS)
    for name, model_type in MODEL_TYPES.items()
}
