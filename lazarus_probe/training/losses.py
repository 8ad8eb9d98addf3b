"""What is minimised: the next token of a response, and the class word at a middle layer.

The class is read by the exact logit lens at the last token of the prompt, over the whole vocabulary: where and how it
is read afterwards.
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

    "answer" is the cross-entropy of every token that is learned, from the position before it; "classification" that of
    the class token by the lens at the classifier layer. Each is a mean over the whole step, of which a micro-batch
    gives its share. Gradients reach every layer below that is trained. Of runs side by side (`stacked`) the losses are
    added, and the parts have that of each, "run 0" and so on.

    Args:
        subject: the model; its own forward is run.
        classifier_layer: the layer after which the class is read; None for the answer alone.
        cls_weight: of the classification, between 0 and 1.

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
        asked = [(count - 1, mx.maximum(batch.places, 0))]
        if classifier_layer is not None:
            asked.append((classifier_layer, batch.read_at[:, None]))
        logits = run(batch.tokens[:, :-1], asked)
        answer = _answer(batch, logits[0])
        if classifier_layer is None:
            return _added(answer, {"answer": answer})
        named = _classification(batch, logits[1][:, 0])
        parts = {"answer": answer, "classification": named}
        return _added(cls_weight * named + (1 - cls_weight) * answer, parts)

    return loss


def _added(total: mx.array, parts: dict[str, mx.array]) -> tuple[mx.array, dict[str, mx.array]]:
    """Losses of one run () as they are; those of several (R,) added, beside that of each."""
    if not total.ndim:
        return total, parts
    added = total.sum()
    # One sum and not two of the same: `mx.compile` fails where two outputs are one computation (mlx 0.32, IndexError).
    sums = {name: added if part is total else part.sum() for name, part in parts.items()}
    return added, sums | {f"run {run}": total[run] for run in range(len(total))}


def _answer(batch: Batch, logits: mx.array) -> mx.array:
    following = mx.take_along_axis(batch.tokens, mx.maximum(batch.places, 0) + 1, axis=1)
    return _mean(logits, following, batch.places >= 0, batch.learned_in_step)


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
    found: Any = fast_exp.cross_entropy if on_cpu() else nn.losses.cross_entropy
    return found(logits, targets)
