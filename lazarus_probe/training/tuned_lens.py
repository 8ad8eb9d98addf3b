"""Training a tuned lens (Belrose et al. 2023, arXiv:2303.08112), and evaluating it on held-out texts.

The loss is the divergence of each layer's lens from the model's final distribution, KL(final || lens) in nats, summed
over layers. The model's weights are not trained. A map begins where least squares puts it (`training.lens_start`), or
as the plain lens, where that reads better. Applying and saving lenses is in `introspection.lens.tuned_lens`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.tail_divergence import divergences_and_slopes, final_distributions
from lazarus_probe.introspection.lens.tuned_divergence import POOL_BYTES, HeldOut, bytes_of, evaluate
from lazarus_probe.introspection.lens.tuned_lens import FORMAT, TunedLens, check_readable, residuals
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.training.lens_start import least_squares_start, nearest
from lazarus_probe.training.loop import Optimisation, Step, steps

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.losses import Loss

Texts = Sequence[str] | Sequence[Sequence[int]]
LOGITS_PER_STEP = 2**24
FEWEST_TEXTS = 10
MOST_COMPARED = 64  # texts


@dataclass(frozen=True)
class LensTraining:
    """Settings for training a lens.

    Attributes:
        steps: number of training steps.
        learning_rate: peak learning rate of AdamW.
        batch_size: positions per step at most, drawn at random among those of the texts, each read at all layers;
            fewer where their logits at all layers are more than 2**24.
        held_out: the share of the texts that is held out for evaluation.
        seed: of the split, the order and the intervals.

    Example:
        >>> from lazarus_probe.training import LensTraining
        >>> LensTraining(steps=500, batch_size=32)
        LensTraining(steps=500, learning_rate=0.001, batch_size=32, held_out=0.2, seed=0)
    """

    steps: int = 200
    learning_rate: float = 1e-3
    batch_size: int = 64
    held_out: float = 0.2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class TrainedLens:
    """A lens and its evaluation on held-out texts."""

    lens: TunedLens
    held_out: HeldOut

    def _repr_html_(self) -> str:
        return self.held_out._repr_html_()


def train_lens(
    subject: Subject,
    texts: Texts,
    training: LensTraining | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> TrainedLens:
    """Train a lens for every layer but the last, and evaluate it on held-out texts.

    Args:
        subject: the model, whose weights are not changed.
        texts: texts or token ids; duplicates count once.
        training: the settings, by default those of `LensTraining()`.
        on_step: called after each step.

    Raises:
        ValueError: too few texts, or settings out of range.
        UnsupportedArchitecture: a model with one layer, or whose residual streams cannot be read out position by
            position.
        Diverged: a loss is not finite.

    Example:
        >>> from lazarus_probe.tasks import facts
        >>> from lazarus_probe.training import LensTraining, train_lens
        >>> texts = [fact.prompt() + fact.response() for fact in facts("multiply")[:20]]
        >>> trained = train_lens(subject, texts, LensTraining(steps=2))
        >>> trained.lens.weights.shape  # one map for each layer but the last
        (7, 128, 128)
    """
    training = training or LensTraining()
    _check(training)
    check_readable(subject)
    if subject.num_layers < 2:
        raise ValueError(
            f"{subject.name} has one layer, after which the plain lens is exact; nothing to train"
        )
    trained, held_out = split_texts(subject, texts, training)
    # A fifth of the training texts is not trained on: by it each layer's start is chosen, and what it ends with.
    compared = trained[: max(1, len(trained) // 5)]
    fitted, compared = trained[len(compared) :], compared[:MOST_COMPARED]
    pools = (residuals(subject, pool)[0] for pool in _pools(subject, fitted))
    start = least_squares_start(subject, pools, compared, training.seed)
    maps = _Maps(*start)
    batches = _sloped(subject, maps, _batches(subject, fitted, _size(subject, training), training.seed))
    how = Optimisation(training.learning_rate, training.steps, weight_decay=0.0)
    for step in steps(maps, _loss(maps), batches, how):
        on_step(step)
    # Few positions a step make a noisy path: where least squares is nearly exact, it may lead away from it.
    end = np.array(maps.weights), np.array(maps.biases)
    lens = TunedLens(*nearest(subject, [end, start], compared, training.seed), {})
    evaluation = evaluate(subject, lens, trained, held_out, training.seed)
    return TrainedLens(
        TunedLens(lens.weights, lens.biases, _config(subject, training, evaluation, start[0])), evaluation
    )


def split_texts(
    subject: Subject, texts: Texts, training: LensTraining
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the training texts and of the held-out ones; no text is on both sides.

    Raises:
        ValueError: too few distinct texts.
    """
    ids = sorted({tuple(tokens) for tokens in encode_all(subject, list(texts)) if len(tokens) > 1})
    if len(ids) < FEWEST_TEXTS:
        raise ValueError(
            f"{len(ids)} different texts of two tokens or more; give at least {FEWEST_TEXTS} to train a lens on"
        )
    random.Random(training.seed).shuffle(ids)  # noqa: S311 - a split, not a secret
    held_out_count = max(2, round(training.held_out * len(ids)))
    return [list(tokens) for tokens in ids[held_out_count:]], [
        list(tokens) for tokens in ids[:held_out_count]
    ]


class _Maps(nn.Module):
    """The maps of all layers as one trainable module: what is added to the identity."""

    def __init__(self, weights: NDArray[np.float32], biases: NDArray[np.float32]) -> None:
        super().__init__()
        self.weights = mx.array(weights)
        self.biases = mx.array(biases)


def _moved(maps: _Maps, below: mx.array) -> mx.array:
    """What the maps make of the residual streams (layers - 1, N, D) after all layers but the last."""
    return below + below @ mx.swapaxes(maps.weights, 1, 2) + maps.biases[:, None]


def _sloped(
    subject: Subject, maps: _Maps, batches: Iterator[mx.array]
) -> Iterator[list[tuple[mx.array, mx.array, mx.array]]]:
    """Of each batch (N, layers, D) the states below the last layer, and what the maps as they are now make of them.

    That is the divergences (layers - 1, N), and their slopes (layers - 1, N, D). A compiled step cannot hold NumPy's
    exponentials, so they are taken before it.
    """
    for resid in batches:
        below = mx.swapaxes(resid[:, :-1], 0, 1).astype(mx.float32)
        final = final_distributions(subject, resid[:, -1])
        kl, slopes = divergences_and_slopes(final, subject, _moved(maps, below))
        yield [(below, mx.array(kl.astype(np.float32)), mx.array(slopes))]


def _loss(maps: _Maps) -> Loss:
    """A loss of what `_sloped` yields: the divergence of each layer's lens, summed over layers.

    Its value is that of the divergences, and its derivative goes through their slopes by the maps' output.
    """

    def loss(below: mx.array, kl: mx.array, slopes: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
        by_layer = kl.mean(axis=1)
        along = (_moved(maps, below) * slopes).sum() / below.shape[1]
        return by_layer.sum() + along - mx.stop_gradient(along), {"mean": by_layer.mean()}

    return loss


def _batches(subject: Subject, texts: Sequence[Sequence[int]], size: int, seed: int) -> Iterator[mx.array]:
    """Infinite batches of residual streams (N, layers, D); the model is rerun where not all fit into memory."""
    rng, pools = np.random.default_rng(seed), _pools(subject, texts)
    cached = residuals(subject, pools[0])[0] if len(pools) == 1 else None
    while True:
        for pool in pools:
            resid = residuals(subject, pool)[0] if cached is None else cached
            order = rng.permutation(max(size, len(resid))) % len(resid)
            for begin in range(0, len(order) - size + 1, size):
                yield resid[mx.array(order[begin : begin + size].astype(np.int32))]


def _pools(subject: Subject, texts: Sequence[Sequence[int]]) -> list[Sequence[Sequence[int]]]:
    """The texts split into pools whose residual streams fit into memory."""
    room = max(1, POOL_BYTES // bytes_of(subject))
    ends = np.cumsum([len(text) for text in texts])
    parts: dict[int, list[Sequence[int]]] = {}
    for text, end in zip(texts, ends.tolist(), strict=True):
        parts.setdefault((end - len(text)) // room, []).append(text)
    return list(parts.values())


def _size(subject: Subject, training: LensTraining) -> int:
    """Positions per step: as configured, or fewer where their logits would take too much memory."""
    most = LOGITS_PER_STEP // (subject.num_layers * subject.anatomy.vocab_size)
    return max(1, min(training.batch_size, most))


def _check(training: LensTraining) -> None:
    for name in ("steps", "batch_size"):
        if getattr(training, name) < 1:
            raise ValueError(f"{name} is {getattr(training, name)}; give at least 1")
    if training.learning_rate <= 0:
        raise ValueError(f"learning_rate is {training.learning_rate}; give a number above 0")
    if not 0 < training.held_out < 1:
        raise ValueError(f"held_out is {training.held_out}; give a share between 0 and 1")


def _config(
    subject: Subject, training: LensTraining, evaluation: HeldOut, start: NDArray[np.float32]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": subject.name,
        "base": subject.fingerprint,
        "layers": list(range(subject.num_layers - 1)),
        "hidden_size": subject.anatomy.hidden_size,
        **asdict(training),
        "positions_per_step": _size(subject, training),
        "begun_by_least_squares": [int(layer) for layer in np.flatnonzero(start.any(axis=(1, 2)))],
        "held_out_share": training.held_out,
        "held_out": evaluation.as_data(),
    }
