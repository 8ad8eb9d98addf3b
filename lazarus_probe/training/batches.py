"""Batches of samples, grouped by length and right-padded; deterministic given the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np


@dataclass(frozen=True)
class Sample:
    """Token ids to train on.

    Attributes:
        tokens: prompt, response and end token.
        prompt_length: number of leading tokens that are not learned; 0 or 1 to learn the prompt too.
        class_token: the target of the classifier layer, or -1 for none.
        read_at: the position where the class is read; None is the last one that is not learned, `prompt_length - 1`.
            Set it where the prompt is learned too, since `prompt_length - 1` is then not its end.
    """

    tokens: tuple[int, ...]
    prompt_length: int
    class_token: int = -1
    read_at: int | None = None


class Batch(NamedTuple):
    """Right-padded samples; rows that only fill up the batch have no loss.

    Attributes:
        tokens: (B, L); the model runs all but the last.
        learned: (B, L - 1), 1.0 where the NEXT token is learned.
        read_at: (B,) the position where the class is read: the last token of the prompt.
        class_tokens: (B,), -1 where there is none.
        learned_in_step: () number of learned tokens in the whole step, over all its micro-batches, so that gradient
            accumulation is exactly equivalent to one large batch.
        classified_in_step: () number of classes in the step.
        positions: (B, K) the positions where `learned` is 1, each row padded with -1.
    """

    tokens: mx.array
    learned: mx.array
    read_at: mx.array
    class_tokens: mx.array
    learned_in_step: mx.array
    classified_in_step: mx.array
    positions: mx.array


def batches(
    samples: Sequence[Sample],
    batch_size: int,
    seed: int,
    start: int = 0,
    accumulate: int = 1,
    order_seed: int | None = None,
) -> Iterator[list[Batch]]:
    """The micro-batches of each step from `start` on, as an infinite iterator.

    Every sample occurs once per epoch, in a batch of samples of similar length; each epoch shuffles the order of the
    batches. A step's batches depend on samples, seed and step alone. All batches have the same number of rows and few
    different lengths, since `mx.compile` traces every shape anew.

    Args:
        samples: what to train on.
        batch_size: rows per micro-batch, at most the number of samples.
        seed: of the order.
        start: steps to skip.
        accumulate: micro-batches per step.
        order_seed: a separate seed for the order of the batches: with a common one, runs of several seeds on samples of
            equal lengths have batches of one length at each step.

    Raises:
        ValueError: no samples, one with fewer than two tokens or with nothing to learn, or a size below 1.
    """
    _check(samples, batch_size, accumulate)
    return _endless(samples, min(batch_size, len(samples)), seed, start * accumulate, accumulate, order_seed)


def _endless(
    samples: Sequence[Sample], rows: int, seed: int, first: int, accumulate: int, order_seed: int | None
) -> Iterator[list[Batch]]:
    lengths = np.array([padded(len(sample.tokens)) for sample in samples])
    in_epoch = -(-len(samples) // rows)
    epoch, skipped = divmod(first, in_epoch)
    pending: list[list[Sample]] = []
    while True:
        for chosen in _epoch(lengths, rows, seed, epoch, order_seed)[skipped:]:
            pending.append([samples[index] for index in chosen])
            if len(pending) == accumulate:
                yield collate(pending, rows)
                pending = []
        epoch, skipped = epoch + 1, 0


def _epoch(lengths: np.ndarray, rows: int, seed: int, epoch: int, order_seed: int | None) -> list[np.ndarray]:
    """The samples of each batch of an epoch, with ties in length and the order of the batches shuffled."""
    rng = np.random.default_rng([seed, epoch])
    drawn = rng.permutation(len(lengths))
    by_length = drawn[np.argsort(lengths[drawn], kind="stable")]
    cut = [by_length[i : i + rows] for i in range(0, len(by_length), rows)]
    order = rng if order_seed is None else np.random.default_rng([order_seed, epoch])
    return [cut[index] for index in order.permutation(len(cut))]


def collate(micro_batches: Sequence[Sequence[Sample]], rows: int | None = None) -> list[Batch]:
    """One step's micro-batches as arrays.

    Args:
        micro_batches: the samples of each.
        rows: number of rows to fill each up to; None adds no rows.
    """
    samples_of_step = [sample for samples in micro_batches for sample in samples]
    learned = sum(len(_positions(sample)) for sample in samples_of_step)
    classified = sum(sample.class_token >= 0 for sample in samples_of_step)
    return [_arrays(samples, rows or len(samples), learned, classified) for samples in micro_batches]


def padded(length: int) -> int:
    """A length rounded up to one of few values, so that few shapes are compiled: above 64, by an eighth at most."""
    # The last token is never an input, so the length that the model runs is rounded.
    run = length - 1
    step = 1 << max(2, run.bit_length() - 4)
    return -(-run // step) * step + 1


def _arrays(samples: Sequence[Sample], rows: int, learned: int, classified: int) -> Batch:
    length = padded(max(len(sample.tokens) for sample in samples))
    tokens = np.zeros((rows, length), np.int32)
    mask = np.zeros((rows, length - 1), np.float32)
    positions = np.full((rows, max(len(_positions(sample)) for sample in samples)), -1, np.int32)
    read_at, class_tokens = np.zeros(rows, np.int32), np.full(rows, -1, np.int32)
    for row, sample in enumerate(samples):
        own = _positions(sample)
        tokens[row, : len(sample.tokens)] = sample.tokens
        mask[row, own.start : own.stop] = 1.0
        positions[row, : len(own)] = own
        read_at[row] = max(0, sample.prompt_length - 1) if sample.read_at is None else sample.read_at
        class_tokens[row] = sample.class_token
    counts: list[Any] = [np.float32(learned), np.float32(classified)]
    return Batch(*map(mx.array, (tokens, mask, read_at, class_tokens, *counts, positions)))


def _positions(sample: Sample) -> range:
    """The positions whose next token is learned."""
    return range(max(sample.prompt_length, 1) - 1, len(sample.tokens) - 1)


def _check(samples: Sequence[Sample], batch_size: int, accumulate: int) -> None:
    if not samples:
        raise ValueError("no samples to train on; give at least one")
    if batch_size < 1 or accumulate < 1:
        raise ValueError(f"batch_size is {batch_size} and accumulate {accumulate}; each must be at least 1")
    for index, sample in enumerate(samples):
        if not _positions(sample):
            raise ValueError(
                f"sample {index} has {len(sample.tokens)} tokens, {sample.prompt_length} of them prompt: "
                "nothing is left to learn; give it a response"
            )
        if sample.read_at is not None and not 0 <= sample.read_at < len(sample.tokens) - 1:
            raise ValueError(
                f"sample {index} reads its class at {sample.read_at} of {len(sample.tokens)} tokens; "
                "give the last token of the prompt"
            )
