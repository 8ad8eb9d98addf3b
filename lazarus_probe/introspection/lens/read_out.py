"""Both ends of a model by its own code: the scale of its embeddings, and logits of residual streams."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lazarus_probe.hooks.interventions import Intervention, scale
from lazarus_probe.hooks.replay import replay, require_free_tail
from lazarus_probe.hooks.trace import trace
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Tap, tapped


def read_out(
    subject: Subject, hidden: mx.array, normalize: bool = True, tokens: mx.array | None = None
) -> mx.array:
    """Logits (B, L, V) of residual streams (B, L, D) by the model's own tail, with its final norm or without.

    Raises:
        UnsupportedArchitecture: no `tokens`, and the model's tail reads more than the residual stream.
        ValueError: no `normalize`, and no norm was found after the layers.
    """
    if tokens is None:
        require_free_tail(subject)
    with nullcontext() if normalize else tapped(_bypassed(subject)):
        return replay(subject, hidden, tokens=tokens)


def own_embedding_scale(subject: Subject) -> float:
    """What a model's own code multiplies its token embeddings by before the first layer; 1 for most.

    Raises:
        ValueError: the first layer is given something else than scaled embeddings.
    """
    tokens = mx.arange(1, 5)[None] % subject.anatomy.vocab_size
    resid_pre: Any = np.array(trace(subject, tokens, "resid_pre.0")["resid_pre.0"].astype(mx.float32))
    # Called on its own: some models scale in place what it returned, and with it what was captured there.
    embedded: Any = np.array(subject.anatomy.embedding(tokens).astype(mx.float32))
    if embedded.shape == resid_pre.shape:
        factor = float((embedded * resid_pre).sum() / (embedded * embedded).sum())
        if np.abs(resid_pre - factor * embedded).max() <= 1e-2 * np.abs(resid_pre).max():
            return factor
    raise ValueError(
        f"the first layer of {subject.name} is given more than scaled embeddings; leave embedding_scale out"
    )


def own_scale(subject: Subject) -> float | None:
    """The factor between the embedding module's output and what enters the first block, as found by running both.

    Gemma's is the square root of its width, as its code rounds it. None where there is no one factor, as when positions
    are added to the embeddings.
    """
    try:
        return round(own_embedding_scale(subject), 6)
    except ValueError:
        return None


def scale_in_place(subject: Subject, factor: float) -> Intervention:
    """An edit under which the model scales its embeddings by `factor` instead of by its own factor.

    Raises:
        ValueError: `factor` is not a positive finite number, or the model has no one factor to replace.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"embedding scale {factor} is unusable; give a positive number")
    return scale("resid_pre.0", factor / own_embedding_scale(subject))


def _bypassed(subject: Subject) -> list[Tap]:
    """Taps that pass over every norm outside of the layers: of those, only the final one is run in a replay."""
    inside = {id(module) for block in subject.anatomy.blocks for module in block.modules()}
    norms = [module for module in subject.model.modules() if id(module) not in inside and _is_norm(module)]
    if not norms:
        raise ValueError(f"{subject.name} has no norm after its layers; give normalize=True")
    return [Tap(module, instead=lambda value: value) for module in norms]


def _is_norm(module: nn.Module) -> bool:
    weight = module.get("weight")
    return isinstance(module, nn.RMSNorm | nn.LayerNorm) or (weight is not None and weight.ndim == 1)
