"""Batches: equal lengths, nothing padded, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.subject import by_length
from lazarus_probe.subject.batches import encode_some


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=30),
    st.integers(1, 40),
    st.none() | st.integers(1, 9),
)
def test_every_prompt_is_in_one_batch_as_it_was(encoded, limit, most):
    """Whatever the lengths, each prompt comes once, unpadded, in batches of at most so many tokens and prompts."""
    seen = {}
    for indices, tokens in by_length(encoded, limit, most):
        assert len(indices) <= (most or len(encoded))
        assert len(indices) * tokens.shape[1] <= limit or len(indices) == 1
        for index, row in zip(indices, tokens.tolist(), strict=True):
            assert index not in seen
            seen[index] = row
    assert seen == dict(enumerate(encoded))


def test_prompts_of_one_length_share_a_batch():
    """Batches are no smaller than they need to be, and the shortest prompts come first."""
    batches = [indices for indices, _ in by_length([[1, 2], [3], [4, 5], [6]])]
    assert batches == [[1, 3], [0, 2]]


@pytest.mark.parametrize(
    ("encoded", "message"), [([], "no prompts to batch"), ([[1], []], "prompt 1 has no tokens")]
)
def test_nothing_to_batch_is_refused(encoded, message):
    """No prompts, and prompts of no tokens, are errors at once."""
    with pytest.raises(ValueError, match=message):
        by_length(encoded)


@pytest.mark.parametrize("token", [1.5, "3", None, [3]])
def test_what_is_no_whole_number_is_no_token(grouped, token):
    """A number with a fraction is not cut to a token id: it is shown with its type."""
    with pytest.raises(TypeError, match=r"of type \w+ is no token id; give whole numbers"):
        encode_some(grouped, [[3, token]])
