"""Batches: every sample once an epoch, the same for the same seed and step, and labels one token ahead."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.training.batches import Batch, Sample, batches, collate, padded

LENGTHS = st.lists(st.integers(2, 30), min_size=1, max_size=30)


def samples_of(lengths: list[int]) -> list[Sample]:
    """Samples that can be told apart by their first token, the last of each learned."""
    return [Sample((i + 1, *range(100, 99 + n)), n - 1, i % 3 - 1) for i, n in enumerate(lengths)]


def rows(batch: Batch) -> list[int]:
    """The first token of each row that is a sample."""
    return [row[0] for row in np.array(batch.tokens).tolist() if row[0]]


def same(left: list[Batch], right: list[Batch]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(np.array_equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


@given(LENGTHS, st.integers(1, 8), st.integers(0, 3))
def test_every_sample_comes_once_an_epoch(lengths, batch_size, seed):
    """Three epochs hold every sample three times, and each epoch once, whatever the last batch lacks."""
    samples = samples_of(lengths)
    in_epoch = -(-len(samples) // min(batch_size, len(samples)))
    drawn = list(islice(batches(samples, batch_size, seed), 3 * in_epoch))
    for epoch in range(3):
        one = [first for step in drawn[epoch * in_epoch : (epoch + 1) * in_epoch] for first in rows(step[0])]
        assert sorted(one) == list(range(1, len(samples) + 1))


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 12))
def test_start_passes_steps_over(lengths, batch_size, accumulate, start):
    """Batches from a later step on are those that an unbroken run sees there."""
    samples = samples_of(lengths)
    whole = list(islice(batches(samples, batch_size, 1, 0, accumulate), start + 3))
    later = islice(batches(samples, batch_size, 1, start, accumulate), 3)
    assert all(same(a, b) for a, b in zip(whole[start:], later, strict=True))


def test_seed_decides_the_order():
    """Another seed gives another order, the same seed the same."""
    samples = samples_of([5] * 40)
    first, again, other = (
        [rows(step[0]) for step in islice(batches(samples, 4, seed), 10)] for seed in (0, 0, 1)
    )
    assert first == again != other


@given(LENGTHS, st.integers(1, 8))
def test_one_order_of_lengths_for_all_seeds(lengths, batch_size):
    """With an order of their own, runs of two seeds have equally long batches at each step, and every sample still."""
    samples, steps = samples_of(lengths), 2 * -(-len(lengths) // min(batch_size, len(lengths)))
    one, other = (
        [step[0] for step in islice(batches(samples, batch_size, seed, order_seed=5), steps)]
        for seed in (0, 1)
    )
    assert [batch.tokens.shape for batch in one] == [batch.tokens.shape for batch in other]
    for drawn in (one, other):
        assert Counter(first for batch in drawn for first in rows(batch)) == dict.fromkeys(
            range(1, len(samples) + 1), 2
        )


def test_epochs_differ():
    """The second epoch has another order, and other samples of equal length share a batch."""
    samples = samples_of([5] * 40)
    drawn = [frozenset(rows(step[0])) for step in islice(batches(samples, 4, 0), 20)]
    assert set(drawn[:10]) != set(drawn[10:])


def test_batches_hold_about_one_length():
    """A batch of short samples is no longer than they are, and one of long samples holds no short one but once."""
    samples = samples_of([5] * 16 + [29] * 16)
    lengths = Counter(step[0].tokens.shape[1] for step in islice(batches(samples, 4, 0), 8))
    assert lengths == {5: 4, 29: 4}


@given(st.integers(2, 5000))
def test_padding_is_small_and_of_few_lengths(length):
    """A batch is at most 3 tokens longer than its longest sample, or an eighth above 64."""
    assert 0 <= padded(length) - length <= max(3, (length - 1) / 8)


def test_few_lengths():
    """All lengths up to 4096 make 64 shapes or fewer, which bounds what is compiled."""
    assert len({padded(length) for length in range(2, 4097)}) <= 64


def test_learned_is_the_next_token():
    """`learned` marks the position before each response token, and `positions` names the same positions."""
    (batch,) = collate([[Sample((7, 8, 9, 10, 11), 3), Sample((7, 8, 9), 1)]])
    assert np.array(batch.tokens).tolist() == [[7, 8, 9, 10, 11], [7, 8, 9, 0, 0]]
    assert np.array(batch.learned).tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]
    assert np.array(batch.positions).tolist() == [[2, 3], [0, 1]]
    assert batch.learned_in_step.item() == 4


@pytest.mark.parametrize(("prompt_length", "first"), [(0, 0), (1, 0), (2, 1)])
def test_prompt_length_is_where_learning_begins(prompt_length, first):
    """The first token is never learned, since nothing stands before it; with 2 of prompt the third is the first."""
    (batch,) = collate([[Sample((1, 2, 3, 4, 5), prompt_length)]])
    assert np.array(batch.positions).tolist()[0] == list(range(first, 4))


def test_class_is_read_at_the_last_token_of_the_prompt():
    """`read_at` is the position before the first learned token, unless the sample says another."""
    samples = [Sample((1, 2, 3, 4), 3, 9), Sample((1, 2, 3, 4), 1, 9, read_at=2), Sample((1, 2, 3, 4), 2)]
    (batch,) = collate([samples])
    assert np.array(batch.read_at).tolist() == [2, 2, 1]
    assert np.array(batch.class_tokens).tolist() == [9, 9, -1]
    assert batch.classified_in_step.item() == 2


def test_counts_are_those_of_the_step():
    """Every micro-batch of a step knows what the step learns in all of them; rows that fill up count nothing."""
    drawn = next(batches(samples_of([5, 5, 5, 5, 5]), 2, 0, accumulate=3))
    assert [len(rows(batch)) for batch in drawn].count(1) == 1
    assert {batch.learned_in_step.item() for batch in drawn} == {5}
    assert {batch.tokens.shape for batch in drawn} == {(2, 5)}
    assert sum(np.array(batch.learned).sum() for batch in drawn) == 5


def test_a_million_steps_are_passed_over_without_memory():
    """Going on from a late step takes neither time nor memory that grows with it."""
    samples = samples_of([5, 9] * 20)
    tracemalloc.start()
    next(batches(samples, 4, 0, start=10**6))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


@pytest.mark.parametrize(
    ("samples", "size", "message"),
    [
        ([], 4, "no samples"),
        ([Sample((1, 2), 1)], 0, "batch_size is 0"),
        ([Sample((1, 2), 1), Sample((1, 2), 2)], 1, "sample 1 .* nothing is left to learn"),
        ([Sample((1,), 0)], 1, "sample 0 has 1 tokens"),
        ([Sample((1, 2, 3), 1, 5, read_at=2)], 1, "reads its class at 2 of 3"),
    ],
)
def test_what_cannot_be_learned_is_refused(samples, size, message):
    """An error names the sample and what it lacks, before the first batch is asked for."""
    with pytest.raises(ValueError, match=message):
        batches(samples, size, 0)
