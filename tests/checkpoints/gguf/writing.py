"""Writes a tiny model of mlx-lm as a GGUF file, by a mapping of names and rows of its own."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType as Type
from mlx.utils import tree_flatten, tree_map

LLAMA_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.switch_mlp.gate_proj": "ffn_gate_exps",
    "mlp.switch_mlp.up_proj": "ffn_up_exps",
    "mlp.switch_mlp.down_proj": "ffn_down_exps",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.switch_mlp.gate_proj": "ffn_gate_exps",
    "block_sparse_moe.switch_mlp.up_proj": "ffn_up_exps",
    "block_sparse_moe.switch_mlp.down_proj": "ffn_down_exps",
}
GEMMA_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
TOKENS = ["<unk>", "<s>", "</s>", *(chr(code) for code in range(33, 33 + 60)), "AB"]


@dataclass(frozen=True)
class Family:
    """One architecture: a tiny configuration, and how its files differ from Llama's.

    Attributes:
        architecture: llama.cpp's name.
        module: mlx-lm's.
        arguments: of the model, beyond the sizes that all have.
        names: of tensors that are called otherwise.
        settings: of the metadata, by key without the architecture.
        neighbours: whether rows of queries and keys are stored for rotating neighbours, and the model rotates halves.
        one_added: whether norms are stored with 1 added.
    """

    architecture: str
    module: str
    arguments: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    neighbours: bool = False
    one_added: bool = False
    eps: str = "attention.layer_norm_rms_epsilon"

    def build(self, seed: int = 0) -> Any:
        """The model with random weights, which say something in every place."""
        module = importlib.import_module(f"mlx_lm.models.{self.module}")
        sizes = {
            "model_type": self.module, "hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 256,
            "rope_theta": 5000.0, "tie_word_embeddings": False, "rms_norm_eps": 1e-4, "layer_norm_eps": 1e-4,
        }  # fmt: skip
        mx.random.seed(seed)
        model = module.Model(module.ModelArgs.from_dict({**sizes, **self.arguments}))
        model.update(tree_map(_loud, model.parameters()))
        if "tie" in self.settings:
            model.tie_word_embeddings = True
            model.pop("lm_head")
        mx.eval(model.parameters())
        model.eval()
        return model


def _loud(value: Any) -> Any:
    return value + 0.2 * mx.random.normal(value.shape)


def metadata_of(family: Family, model: Any) -> dict[str, Any]:
    """The settings that every file has, and those of the family."""
    args = model.args
    heads = getattr(args, "num_attention_heads", None) or getattr(args, "n_head", 4)
    settings = {
        "block_count": 2, "embedding_length": 64, "feed_forward_length": 96, "context_length": 256,
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(args, "num_key_value_heads", None) or heads,
        "rope.freq_base": 5000.0, family.eps: 1e-4,
    }  # fmt: skip
    settings |= {key: value for key, value in family.settings.items() if key != "tie"}
    return {f"{family.architecture}.{key}": value for key, value in settings.items() if value is not None}


def tensors_of(family: Family, model: Any) -> dict[str, np.ndarray]:
    """The tensors as a converter writes them."""
    names = {**LLAMA_NAMES, **family.names}
    found = {}
    for parameter, value in tree_flatten(model.parameters()):
        array = np.array(value.astype(mx.float32))
        block = re.search(r"\.(?:layers|h)\.(\d+)\.", parameter)
        inner = parameter[block.end() :] if block else parameter
        stem, _, suffix = inner.rpartition(".")
        if split := SPLIT.get((family.module, stem)):
            for letter, rows in zip("qkv", split(array, model.args), strict=True):
                if family.neighbours and letter != "v":
                    rows = permuted(rows, model.args.num_attention_heads // (1 if letter == "q" else 2))
                found[f"blk.{block[1]}.attn_{letter}.{suffix}"] = rows
            continue
        name = f"blk.{block[1]}.{names[stem]}" if block else names[stem]
        if family.neighbours and names[stem] in ("attn_q", "attn_k"):
            heads = (
                model.args.num_attention_heads if names[stem] == "attn_q" else model.args.num_key_value_heads
            )
            array = permuted(array, heads)
        if family.module == "gpt_neox" and names[stem] == "attn_qkv":
            array = by_kind(array, heads=4)
        if family.one_added and "norm" in name and suffix == "weight":
            array = array + 1
        if name.endswith("shortconv.conv"):
            array = array[..., 0]
        found[f"{name}.{'weight' if suffix == 'sinks' else suffix}"] = array
    return found


def by_kind(rows: np.ndarray, heads: int) -> np.ndarray:
    """All queries, all keys, all values, of rows that have the three of each head together, as GPT-NeoX has."""
    size = len(rows) // heads // 3
    starts = [(kind, head) for kind in range(3) for head in range(heads)]
    return np.concatenate(
        [rows[(3 * head + kind) * size : (3 * head + kind + 1) * size] for kind, head in starts]
    )


def of_internlm2(rows: np.ndarray, args: Any) -> list[np.ndarray]:
    """Queries, keys and values of rows that have them together for each head of keys."""
    groups, size = args.num_attention_heads // args.num_key_value_heads, 64 // args.num_attention_heads
    parts: list[list[np.ndarray]] = [[], [], []]
    for start in range(0, len(rows), (groups + 2) * size):
        bounds = (0, groups * size, (groups + 1) * size, (groups + 2) * size)
        for kind in range(3):
            parts[kind].append(rows[start + bounds[kind] : start + bounds[kind + 1]])
    return [np.concatenate(part) for part in parts]


SPLIT = {("internlm2", "attention.wqkv"): of_internlm2}


def permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head, first and second half interleaved: what llama.cpp's converter does to Llama's queries."""
    size = len(rows) // heads
    turned = np.empty_like(rows)
    for head in range(heads):
        for pair in range(size // 2):
            turned[head * size + 2 * pair] = rows[head * size + pair]
            turned[head * size + 2 * pair + 1] = rows[head * size + size // 2 + pair]
    return turned


def write_model(
    path: Path,
    family: Family,
    model: Any,
    kind: Type = Type.F32,
    tokenizer: dict[str, Any] | None = None,
    extra: dict[str, np.ndarray] | None = None,
) -> Path:
    """A GGUF file of a model: its matrices in a type, all else in float32."""
    quantised = {
        name: (gguf.quantize(value, kind), kind)
        if value.ndim > 1 and kind is not Type.F32
        else (value, Type.F32)
        for name, value in {**tensors_of(family, model), **(extra or {})}.items()
    }
    metadata = {**metadata_of(family, model), **(byte_level() if tokenizer is None else tokenizer)}
    return write_file(path, family.architecture, metadata, quantised)


def write_file(
    path: Path, architecture: str, metadata: dict[str, Any], tensors: dict[str, tuple[np.ndarray, Type]]
) -> Path:
    """A GGUF file of metadata and tensors, each with its type."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        add(writer, key, value)
    for name, (value, kind) in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(value), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: Any, key: str, value: Any) -> None:
    """One key, of the type that its value has."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def byte_level(tokens: list[str] = TOKENS) -> dict[str, Any]:
    """A byte-level tokenizer of single characters."""
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3, 3, *[1] * (len(tokens) - 3)],
        "tokenizer.ggml.merges": ["A B"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
