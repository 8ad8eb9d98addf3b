"""Rows of different lengths in one batch: each has the logits that it has alone, or the model is not padded."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import KVCache

from lazarus_probe.hooks import hooked
from lazarus_probe.subject import Subject, forward, greedy
from lazarus_probe.subject import padded_rows as module
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.subject.padded_rows import PaddedCache, can_pad, padded_batches, start_padded
from tests.architectures import zoo
from tests.architectures.report import subject_of
from tests.cases import slow_except
from tests.tolerance import of_logits

REFUSED = ("iquestloopcoder", "nanbeige")
RUNS = [name for name in zoo.architectures() if name not in REFUSED]
PADDED = ("cohere", "gpt2", "granite", "llama", "olmo2", "phi3", "qwen2", "qwen3", "qwen3_moe", "stablelm")
EQUAL = ("gemma3_text", "mamba", "gpt_oss", "falcon_h1")


def rows_of(subject: Subject, shared: int, seed: int = 1) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    start = rng.integers(0, subject.anatomy.vocab_size, shared).tolist()
    return [start + rng.integers(0, subject.anatomy.vocab_size, length).tolist() for length in (4, 14, 9, 1)]


@pytest.mark.parametrize("name", slow_except(RUNS, *PADDED))
def test_rows_have_the_logits_that_they_have_alone(name):
    """After prompts of four lengths, with and without a common start, and after four further tokens of each."""
    subject = subject_of(name)
    if not can_pad(subject):
        pytest.skip("its rows are run by equal length")
    for shared in (0, 12):
        prompts = rows_of(subject, shared)
        new = np.random.default_rng(2).integers(0, subject.anatomy.vocab_size, (4, 4))
        cache, tokens = start_padded(subject, prompts)
        steps = [last_logits(subject, tokens, cache)]
        steps += [last_logits(subject, mx.array(column[:, None]), cache) for column in new.T]
        for row, prompt in enumerate(prompts):
            alone = np.array(forward(subject.model, mx.array([prompt + new[row].tolist()]))[0, -5:])
            together = np.stack([np.array(logits[row]) for logits in steps])
            np.testing.assert_allclose(together, alone, rtol=0, atol=of_logits(subject, alone))


@pytest.mark.parametrize("name", [*PADDED, *EQUAL])
def test_where_rows_are_padded(name):
    """Where a cache holds all keys they are; where it holds the last ones alone, or states, they are not."""
    assert can_pad(subject_of(name)) == (name in PADDED)


def test_a_model_that_reads_what_is_padded_is_not_padded(grouped, monkeypatch):
    """Where the mask hides too little the trial's logits differ, and rows are run by equal length."""
    monkeypatch.setattr(module, "_exact", {})
    assert can_pad(grouped)
    monkeypatch.setattr(module, "_exact", {})

    def all_of_them(self, length, **_):
        columns = self.cache.offset + length
        return mx.tril(mx.ones((length, columns)), k=columns - length) > 0

    monkeypatch.setattr(PaddedCache, "make_mask", all_of_them)
    assert not can_pad(grouped)


def test_masks_are_those_of_a_loop():
    """A query reads the common start and its own row, up to itself and within a window; padding reads itself too."""
    cache = KVCache()
    cache.update_and_fetch(*[mx.zeros((2, 1, 3, 4))] * 2)
    padded = PaddedCache(cache, mx.array([2, 0]))
    assert padded.offset.tolist() == [1, 3]
    for window in (None, 3):
        mask = np.array(padded.make_mask(4, window_size=window))
        assert mask.shape == (2, 1, 4, 7)
        for row, padding in enumerate((2, 0)):
            place = [0, 1, 2, *([None] * padding), *range(3, 7 - padding)]
            for query in range(3, 7):
                for column in range(7):
                    known = place[query] is not None and place[column] is not None and column <= query
                    near = window is None or (known and place[query] < place[column] + window)
                    expected = (known and near) or query == column
                    if place[query] is not None:
                        assert mask[row, 0, query - 3, column] == expected, (row, query, column)
                    assert mask[row, 0, query - 3, query]


def test_batches_hold_each_prompt_once():
    """Lengths of a batch differ by at most 32 tokens, and it holds no more tokens than the limit, padding counted."""
    rng = np.random.default_rng(0)
    encoded = [[1] * int(length) for length in rng.integers(1, 200, 60)]
    batches = list(padded_batches(encoded, 700))
    assert sorted(index for batch in batches for index in batch) == list(range(60))
    for batch in batches:
        lengths = [len(encoded[index]) for index in batch]
        assert max(lengths) - min(lengths) <= module.WIDEST
        assert len(batch) == 1 or max(lengths) * len(lengths) <= 700
    assert list(padded_batches([[1] * 900], 700)) == [[0]]


def test_within_hooks_nothing_is_padded(grouped):
    """Hooks see rows of equal length, so that a position is the same place in each."""
    assert can_pad(grouped)
    with hooked(grouped, ["resid_post.0"]) as captured:
        assert not can_pad(grouped)
        greedy(grouped, ["a cat", "a", "a dog sat"], 1)
        assert captured["resid_post.0"].shape[0] == 1
