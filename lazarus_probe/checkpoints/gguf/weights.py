"""The tensors of a GGUF file as the parameters of an mlx-lm model: renamed, split, joined and in its order of rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.config import EMBEDDING, HEAD, architecture_of
from lazarus_probe.checkpoints.gguf.reader import GgufFile
from lazarus_probe.checkpoints.gguf.rope import FREQUENCIES, LONG, SHORT
from lazarus_probe.checkpoints.gguf.tensor_names import tensor_names
from lazarus_probe.checkpoints.gguf.tensor_types import read_tensor

# Tensors that say nothing about a language model's weights: factors of the rotary embedding, and encoders of images.
NO_WEIGHTS = re.compile(
    rf"{re.escape(FREQUENCIES)}|{re.escape(LONG)}|{re.escape(SHORT)}|blk\.\d+\.(attn_rot_embd|rope_\w+)\..*|(v|a|mm)\..*"
)
PART = re.compile(
    r"(?P<block>blk\.\d+\.)(?P<part>attn_qkv|attn_[qkv]|ffn_gate|ffn_up)\.(?P<suffix>weight|bias)"
)
SHOWN = 3  # names in a message

Array = NDArray[np.float32]


def load_weights(file: GgufFile, model: nn.Module, config: dict[str, Any], dtype: mx.Dtype) -> None:
    """Put the tensors of a file into a newly built model.

    Args:
        file: the file.
        model: mlx-lm's model of the file's configuration.
        config: that configuration.
        dtype: of the weights.

    Raises:
        LoadError: a tensor is missing, left over, or of another shape; the message names it.
    """
    if (
        HEAD not in file.tensors
        and "lm_head" in model
        and getattr(model, "tie_word_embeddings", None) is False
    ):
        model.tie_word_embeddings = True  # as mlx-lm does when it reads a checkpoint without one
        model.pop("lm_head")
    parameters = dict(tree_flatten(model.parameters()))
    source = _Source(file, model, config)
    names = tensor_names(parameters, file.architecture, config["num_hidden_layers"])
    if unknown := [name for name in parameters if name not in names]:
        raise _wrong(file, "llama.cpp has no tensor for parameters of mlx-lm's model", unknown)
    added = {f"{path}.weight" for path, module in model.named_modules() if adds_one(module)}
    weights = []
    for name, old in parameters.items():
        value = mx.array(source.parameter(names[name], old.shape))
        weights.append((name, (value - 1 if name in added else value).astype(dtype)))
    if source.missing:
        raise _wrong(file, "the file lacks tensors that the model needs", sorted(source.missing))
    left = sorted(name for name in file.tensors if name not in source.used and not NO_WEIGHTS.fullmatch(name))
    if left:
        raise _wrong(file, f"mlx-lm's {config['model_type']} has no place for tensors of the file", left)
    model.load_weights(weights)


def _wrong(file: GgufFile, what: str, names: list[str]) -> LoadError:
    more = ", ..." if len(names) > SHOWN else ""
    return LoadError(f"{file.path}: {what} ({len(names)}): {', '.join(names[:SHOWN])[:300]}{more}")


def adds_one(module: nn.Module) -> bool:
    """Whether a norm multiplies by one more than its weight, as Gemma's do; GGUF has what is multiplied by."""
    weight = module.get("weight")
    if "norm" not in type(module).__name__.lower() or not isinstance(weight, mx.array) or weight.ndim != 1:
        return False
    module.weight = mx.zeros(weight.shape)
    shown = mx.any(module(mx.arange(weight.size, dtype=mx.float32)[None]) != module.get("bias", 0)).item()
    module.weight = weight
    return bool(shown)


def rotates_neighbours(model: nn.Module) -> bool:
    """Whether the rotary embedding of a model rotates neighbouring dimensions."""
    return any(getattr(module, "traditional", False) is True for _, module in model.named_modules())


@dataclass
class _Source:
    """Tensors of a file in the form that a model wants."""

    file: GgufFile
    model: nn.Module
    config: dict[str, Any]
    used: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # A weight and a bias that several parameters are cut from are dequantised once.
        self.joint_tensor = lru_cache(maxsize=2)(self.tensor)
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config["num_key_value_heads"]
        self.head_dim = self.config["head_dim"]
        self.rotated = round(self.config.get("partial_rotary_factor", 1) * self.head_dim)
        self.stored = architecture_of(self.file).rotates_neighbours
        self.wanted = rotates_neighbours(self.model)
        self.joins_gates = any(path.endswith(".gate_up_proj") for path, _ in self.model.named_modules())

    def parameter(self, name: str, shape: tuple[int, ...]) -> Array:
        """The numbers of a parameter; those of a bias that the file lacks are 0."""
        value = self.value(name)
        if value is None and name.endswith(".bias"):
            return np.zeros(shape, np.float32)
        if value is None:
            self.missing.add(name)
            return np.zeros(1, np.float32)
        if value.shape != shape and _without_ones(value.shape) == _without_ones(shape):
            value = value.reshape(shape)
        if value.shape != shape:
            raise LoadError(
                f"{self.file.path}: the tensor {name} is {value.shape}, and by the settings it would be {tuple(shape)}"
            )
        return value

    def value(self, name: str) -> Array | None:
        """A tensor, or what it is in a file that has it split or joined with others."""
        match = PART.fullmatch(name)
        if match is None:
            return self.tensor(EMBEDDING if name == HEAD and HEAD not in self.file.tensors else name)
        block, part, suffix = match["block"], match["part"], match["suffix"]
        if part.startswith("attn_"):
            return self.attention(block, part, suffix)
        return self.feed_forward(block, part, suffix)

    def tensor(self, name: str) -> Array | None:
        if name not in self.file.tensors:
            name = f"{name}.weight"  # of parameters that have no such suffix
        if name not in self.file.tensors:
            return None
        self.used.add(name)
        return read_tensor(self.file.tensors[name])

    def attention(self, block: str, part: str, suffix: str) -> Array | None:
        """Queries, keys and values, or one of them, each head's rows in the model's order."""
        joined = f"{block}attn_qkv.{suffix}"
        if part != "attn_qkv":
            letter = part[-1]
            rows = self.tensor(f"{block}{part}.{suffix}")
            if rows is None and joined in self.file.tensors:
                rows = self.split(joined)["qkv".index(letter)]
            return (
                rows if letter == "v" else self.in_order(rows, self.heads if letter == "q" else self.kv_heads)
            )
        if joined in self.file.tensors:
            pieces = self.split(joined)
        else:
            projections = (self.tensor(f"{block}attn_{letter}.{suffix}") for letter in "qkv")
            pieces = [rows for rows in projections if rows is not None]
        if len(pieces) < 3:
            return None
        query, key, value = pieces
        return self.joined(self.in_order(query, self.heads), self.in_order(key, self.kv_heads), value)

    def split(self, name: str) -> list[Array]:
        """Queries, keys and values of one tensor."""
        rows: Any = self.joint_tensor(name)
        sizes = [heads * self.head_dim for heads in (self.heads, self.kv_heads, self.kv_heads)]
        if len(rows) != sum(sizes):
            raise LoadError(
                f"{self.file.path}: the tensor {name} has {len(rows)} rows, and by the settings it would have "
                f"{sum(sizes)}"
            )
        return np.split(rows, np.cumsum(sizes)[:-1])

    def joined(self, query: Any, key: Any, value: Any) -> Array:
        """Queries, keys and values as one matrix, in the order of rows that the model splits it by."""
        groups = JOINED.get(self.config["model_type"])
        if groups is None:
            return np.concatenate([query, key, value])
        return groups(query, key, value, self.kv_heads, self.head_dim)

    def in_order(self, rows: Array | None, heads: int) -> Array | None:
        """The rows of queries or keys, with those together that the model rotates together."""
        if rows is None or self.stored == self.wanted or len(rows) != heads * self.head_dim:
            return rows
        by_head = rows.reshape(heads, self.head_dim, *rows.shape[1:])
        half = self.rotated // 2
        split = (half, 2) if self.stored else (2, half)
        turned = by_head[:, : 2 * half].reshape(heads, *split, *rows.shape[1:]).swapaxes(1, 2)
        turned = turned.reshape(heads, 2 * half, *rows.shape[1:])
        return np.concatenate([turned, by_head[:, 2 * half :]], axis=1).reshape(rows.shape)

    def feed_forward(self, block: str, part: str, suffix: str) -> Array | None:
        """The gate and what it is multiplied with, which some files and some models have as one matrix, gate first."""
        gate, up = f"{block}ffn_gate.{suffix}", f"{block}ffn_up.{suffix}"
        size = self.config.get("intermediate_size", 0)
        entry = self.file.tensors.get(up)
        if (
            entry is not None
            and gate not in self.file.tensors
            and entry.shape[0] == 2 * size
            and not self.joins_gates
        ):
            both: Any = self.joint_tensor(up)
            return both[:size] if part == "ffn_gate" else both[size:]
        if self.joins_gates and gate in self.file.tensors and entry is not None:
            return np.concatenate([read for name in (gate, up) if (read := self.tensor(name)) is not None])
        return self.tensor(f"{block}{part}.{suffix}")


def _grouped(query: Array, key: Array, value: Array, kv_heads: int, head_dim: int) -> Array:
    """Each key head with the query heads that share it before it, and its values after."""
    shape = (kv_heads, -1, head_dim, *query.shape[1:])
    parts = [rows.reshape(shape) for rows in (query, key, value)]
    return np.concatenate(parts, axis=1).reshape(-1, *query.shape[1:])


JOINED = {"internlm2": _grouped, "gpt_neox": _grouped}


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def tensor_dtypes(file: GgufFile) -> Iterator[str]:
    """The types of the matrices of a file."""
    return (entry.type.name for entry in file.tensors.values() if len(entry.shape) > 1)
