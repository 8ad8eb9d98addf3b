"""Samples in batches: by length, right-padded, and the same for the same seed and step whatever came before."""

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
        tokens: prompt, response and whatever ends it.
        prompt_length: where what is learned begins; 0 or 1 to learn the prompt too.
        class_token: what the classifier layer shall name, or -1 for nothing.
        read_at: the position at which it shall; None is the last one that is not learned, `prompt_length - 1`. To be
            given where the prompt is learned too, for there that is the first token.
    """

    tokens: tuple[int, ...]
    prompt_length: int
    class_token: int = -1
    read_at: int | None = None


class Batch(NamedTuple):
    """Right-padded samples; rows that only fill the batch learn nothing.

    Attributes:
        tokens: (B, L); the model runs all but the last.
        learned: (B, L - 1), 1.0 where the NEXT token is learned.
        read_at: (B,) the position where the class is read: the last token of the prompt.
        class_tokens: (B,), -1 where there is none.
        learned_in_step: () how many tokens the whole step learns, over all its micro-batches, so that accumulating
            their gradients is exactly one large batch.
        classified_in_step: () how many classes it learns.
        places: (B, K) the positions where `learned` is 1, each row filled up with -1.
    """

    tokens: mx.array
    learned: mx.array
    read_at: mx.array
    class_tokens: mx.array
    learned_in_step: mx.array
    classified_in_step: mx.array
    places: mx.array


def batches(
    samples: Sequence[Sample],
    batch_size: int,
    seed: int,
    start: int = 0,
    accumulate: int = 1,
    order_seed: int | None = None,
) -> Iterator[list[Batch]]:
    """The micro-batches of each step, from step `start` on, without end.

    Every sample comes once an epoch, in a batch with samples of about its length; the order of batches is drawn anew in
    each epoch. What a step sees depends on samples, seed and step alone. All batches have the same number of rows, and
    few different lengths, since `mx.compile` traces every shape anew.

    Args:
        samples: what to train on.
        batch_size: rows of a micro-batch; no more than there are samples.
        seed: of the order.
        start: steps to pass over.
        accumulate: micro-batches a step.
        order_seed: of the order of the batches, if it is not to be the seed's: with one for all, runs of several seeds
            on samples of equal lengths have batches of one length at each step.

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
    """The samples of each batch of an epoch: which of equal length share one, and the order, are drawn."""
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
        rows: how many rows to fill each up to; None fills none up.
    """
    every = [sample for samples in micro_batches for sample in samples]
    learned = sum(len(_places(sample)) for sample in every)
    classified = sum(sample.class_token >= 0 for sample in every)
    return [_arrays(samples, rows or len(samples), learned, classified) for samples in micro_batches]


def padded(length: int) -> int:
    """A length rounded up to one of the few that batches have: above 64 tokens at most an eighth more."""
    # The last token is never an input: what is rounded is what the model runs.
    run = length - 1
    step = 1 << max(2, run.bit_length() - 4)
    return -(-run // step) * step + 1


def _arrays(samples: Sequence[Sample], rows: int, learned: int, classified: int) -> Batch:
    length = padded(max(len(sample.tokens) for sample in samples))
    tokens = np.zeros((rows, length), np.int32)
    mask = np.zeros((rows, length - 1), np.float32)
    places = np.full((rows, max(len(_places(sample)) for sample in samples)), -1, np.int32)
    read_at, class_tokens = np.zeros(rows, np.int32), np.full(rows, -1, np.int32)
    for row, sample in enumerate(samples):
        own = _places(sample)
        tokens[row, : len(sample.tokens)] = sample.tokens
        mask[row, own.start : own.stop] = 1.0
        places[row, : len(own)] = own
        read_at[row] = max(0, sample.prompt_length - 1) if sample.read_at is None else sample.read_at
        class_tokens[row] = sample.class_token
    counts: list[Any] = [np.float32(learned), np.float32(classified)]
    return Batch(*map(mx.array, (tokens, mask, read_at, class_tokens, *counts, places)))


def _places(sample: Sample) -> range:
    """The positions whose next token is learned."""
    return range(max(sample.prompt_length, 1) - 1, len(sample.tokens) - 1)


def _check(samples: Sequence[Sample], batch_size: int, accumulate: int) -> None:
    if not samples:
        raise ValueError("no samples to train on; give at least one")
    if batch_size < 1 or accumulate < 1:
        raise ValueError(f"batch_size is {batch_size} and accumulate {accumulate}; each must be at least 1")
    for index, sample in enumerate(samples):
        if not _places(sample):
            raise ValueError(
                f"sample {index} has {len(sample.tokens)} tokens, {sample.prompt_length} of them prompt: "
                "nothing is left to learn; give it a response"
            )
        if sample.read_at is not None and not 0 <= sample.read_at < len(sample.tokens) - 1:
            raise ValueError(
                f"sample {index} reads its class at {sample.read_at} of {len(sample.tokens)} tokens; "
                "give the last token of the prompt"
            )
