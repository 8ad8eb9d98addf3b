"""Edits of the residual stream to read through the lens: a steering vector, an injected token, an exact answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import Intervention, steer
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.continuation import answer_start
from lazarus_probe.introspection.lens.read_out import read_out

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def push(subject: Subject, vector: NDArray[Any], layer: int, coefficient: float) -> Intervention:
    """Add `coefficient` times a direction (D,) after a layer, from a prompt's last token on; its norm counts.

    Raises:
        ValueError: the direction has another width than the model.
    """
    width = subject.anatomy.hidden_size
    if vector.shape != (width,):
        raise ValueError(f"the direction has {vector.size} numbers, and {subject.name} a width of {width}")
    return steer(resid_post(layer), vector, coefficient, "last")


def push_coordinate(subject: Subject, coordinate: int, layer: int, strength: float) -> Intervention:
    """Add `strength` to one coordinate of the residual stream after a layer, from a prompt's last token on.

    Raises:
        ValueError: the residual stream has no such coordinate.
    """
    width = subject.anatomy.hidden_size
    if not 0 <= coordinate < width:
        raise ValueError(f"there is no neuron {coordinate}; {subject.name} has 0 to {width - 1}")
    return steer(resid_post(layer), np.eye(1, width, coordinate, dtype=np.float32)[0], strength, "last")


def inject_token(subject: Subject, token: int, layer: int, blend: float, position: int) -> Intervention:
    """Blend a token's embedding, rescaled to the residual stream's norm, into the stream after a layer.

    Args:
        subject: the model.
        token: whose embedding.
        layer: after which block.
        blend: 0 leaves the stream as it is, 1 replaces it.
        position: where in the sequence.

    Raises:
        ValueError: a blend that is not from 0 to 1.
    """
    if not 0 <= blend <= 1:
        raise ValueError(f"blend is {blend}; give 0 for nothing to 1 for the whole")
    row = subject.anatomy.embedding(mx.array([[token]]))[0, 0].astype(mx.float32)
    unit = row / mx.linalg.norm(row)

    def edit(value: mx.array) -> mx.array:
        old = value.astype(mx.float32)
        new = (1 - blend) * old + blend * mx.linalg.norm(old, axis=-1, keepdims=True) * unit
        return new.astype(value.dtype)

    return Intervention(resid_post(layer), edit, position, "inject")


def answer_token(subject: Subject, prompt: str, answer: str) -> int:
    """The first token of an answer as it continues a prompt, spaces left out.

    Raises:
        ValueError: it cannot continue the prompt with tokens of its own.
    """
    tokens, start = answer_start(subject, prompt, answer if prompt[-1:].isspace() else f" {answer}")
    return tokens[start]


def say(subject: Subject, prompt: str, token: int, layer: int) -> Intervention:
    """Push the residual stream after a layer, at the last position, so that the lens predicts a token.

    The vector added has the norm of the residual stream, along the gradient of the token's log probability: of the
    token's unembedding less the mean one, through the final norm. Hooks of an enclosing `hooked` act on the run in
    which the stream is read.

    Args:
        subject: the model.
        prompt: the text.
        token: what the lens shall predict.
        layer: after which block.
    """
    ids, site = subject.encode(prompt), resid_post(layer)
    resid = mx.array(collect(subject, [ids], [site])[site])[:, None].astype(getattr(mx, subject.dtype))

    def log_probability(stream: mx.array) -> mx.array:
        logits = read_out(subject, stream)[0, 0].astype(mx.float32)
        return logits[token] - mx.logsumexp(logits)

    along = mx.grad(log_probability)(resid).astype(mx.float32)
    vector = along * (mx.linalg.norm(resid.astype(mx.float32)) / mx.maximum(mx.linalg.norm(along), 1e-20))
    return steer(site, vector[0], positions=len(ids) - 1)
