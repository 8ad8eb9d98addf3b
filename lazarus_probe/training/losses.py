"""The training losses: the next token of a response, and the class word at a middle layer.

The class is read by the exact logit lens at the last token of the prompt, over the full vocabulary: the same readout as
in the evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.training import fast_exp
from lazarus_probe.training.batches import Batch
from lazarus_probe.training.forward import logits_at, on_cpu

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Loss = Callable[..., tuple[mx.array, dict[str, mx.array]]]


def sft_loss(subject: Subject, classifier_layer: int | None = None, cls_weight: float = 0.0) -> Loss:
    """A loss of the arrays of a `Batch`: `cls_weight * classification + (1 - cls_weight) * answer`, in nats.

    "answer" is the cross-entropy of every learned token, predicted from the position before it; "classification" is
    that of the class token by the lens at the classifier layer. Each is a mean over the whole step, to which a
    micro-batch contributes its share. Gradients reach every trainable layer below. For runs side by side (`stacked`)
    the losses are summed, and the parts include each run's loss as "run 0" and so on.

    Args:
        subject: the model, whose own forward pass is run.
        classifier_layer: the layer after which the class is read; None for the answer loss alone.
        cls_weight: weight of the classification loss, between 0 and 1.

    Raises:
        IndexError: the model has no such layer.
        ValueError: a weight outside 0 to 1, or without a layer.
    """
    if not 0.0 <= cls_weight <= 1.0:
        raise ValueError(f"cls_weight is {cls_weight}; it is a share between 0 and 1")
    if cls_weight > 0 and classifier_layer is None:
        raise ValueError(f"cls_weight is {cls_weight} without a classifier_layer; give the layer to read at")
    count = subject.num_layers
    if classifier_layer is not None and not 0 <= classifier_layer < count:
        raise IndexError(f"classifier_layer is {classifier_layer}: the model has layers 0 to {count - 1}")
    run = logits_at(subject)

    def loss(*arrays: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
        batch = Batch(*arrays)
        layer_positions = [(count - 1, mx.maximum(batch.positions, 0))]
        if classifier_layer is not None:
            layer_positions.append((classifier_layer, batch.read_at[:, None]))
        logits = run(batch.tokens[:, :-1], layer_positions)
        answer = _answer(batch, logits[0])
        if classifier_layer is None:
            return _added(answer, {"answer": answer})
        named = _classification(batch, logits[1][:, 0])
        parts = {"answer": answer, "classification": named}
        return _added(cls_weight * named + (1 - cls_weight) * answer, parts)

    return loss


def _added(total: mx.array, parts: dict[str, mx.array]) -> tuple[mx.array, dict[str, mx.array]]:
    """The loss of one run () unchanged; losses of several runs (R,) summed, with each of them added to the parts."""
    if not total.ndim:
        return total, parts
    added = total.sum()
    # A single sum: `mx.compile` fails where two outputs are the same computation (mlx 0.32, IndexError).
    sums = {name: added if part is total else part.sum() for name, part in parts.items()}
    return added, sums | {f"run {run}": total[run] for run in range(len(total))}


def _answer(batch: Batch, logits: mx.array) -> mx.array:
    following = mx.take_along_axis(batch.tokens, mx.maximum(batch.positions, 0) + 1, axis=1)
    return _mean(logits, following, batch.positions >= 0, batch.learned_in_step)


def _classification(batch: Batch, logits: mx.array) -> mx.array:
    wanted = mx.maximum(batch.class_tokens, 0)
    return _mean(logits, wanted, batch.class_tokens >= 0, batch.classified_in_step)


def _mean(logits: mx.array, targets: mx.array, counted: mx.array, count: mx.array) -> mx.array:
    losses = cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
    losses = mx.where(counted.reshape(-1), losses, 0.0)
    return losses.reshape(*count.shape, -1).sum(axis=-1) / mx.maximum(count, 1)


def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """Cross-entropy in nats (N,), in float32, of logits (N, V) against tokens (N,)."""
    logits = logits.astype(mx.float32)
    kernel: Any = fast_exp.cross_entropy if on_cpu() else nn.losses.cross_entropy
    return kernel(logits, targets)
