"""Translating the weight names that transformers saves into those that mlx-lm expects.

mlx-lm reads a model's weights as released. For two architectures transformers saves them differently: GPT-2's names
begin with `transformer.`, and gpt-oss's experts, once unpacked from four bits, are tensors (experts, inputs, outputs)
instead of packed blocks (checked against transformers in tests/parity).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

Weights = dict[str, mx.array]


def reads_saved_names(model_class: type[nn.Module]) -> type[nn.Module]:
    """A model class that accepts both kinds of names; the class itself if they are the same.

    Reset the class of the built model afterwards (`model.__class__ = model_class`): only loading differs.
    """
    renamed = RENAMED.get(model_class.__module__.rpartition(".")[2])
    if renamed is None:
        return model_class

    def sanitize(self: Any, weights: Weights) -> Weights:
        return model_class.sanitize(self, renamed(weights))

    return type(
        model_class.__name__, (model_class,), {"sanitize": sanitize, "__module__": model_class.__module__}
    )


def _gpt2(weights: Weights) -> Weights:
    return {name.removeprefix("transformer."): weight for name, weight in weights.items()}


def _gpt_oss(weights: Weights) -> Weights:
    return dict(_unpacked(name, weight) for name, weight in weights.items())


def _unpacked(name: str, weight: mx.array) -> tuple[str, mx.array]:
    if name.endswith((".experts.gate_up_proj", ".experts.down_proj")):
        return f"{name}.weight", mx.contiguous(weight.swapaxes(1, 2))
    return name, weight


RENAMED = {"gpt2": _gpt2, "gpt_oss": _gpt_oss}
