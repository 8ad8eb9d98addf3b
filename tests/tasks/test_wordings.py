"""Questions in words: one wording each, and operands that no other question has."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.tasks.wordings import WORDINGS, worded


def test_every_wording_is_one_operations_own():
    """Each of four operations has 64 wordings with both numbers in them, and none recurs."""
    wordings = [wording for of_one in WORDINGS.values() for wording in of_one]
    assert {name: len(of_one) for name, of_one in WORDINGS.items()} == dict.fromkeys(OPERATIONS, 64)
    assert max(Counter(wordings).values()) == 1
    assert all("{a}" in wording and "{b}" in wording for wording in wordings)


@pytest.mark.parametrize("per_wording", [1, 2])
def test_no_two_questions_share_a_family(per_wording):
    """Rows of different wordings have different operands, of all operations, so that they are independent."""
    questions = worded(np.random.default_rng(0), per_wording)
    assert len({question.family for question in questions}) == len(questions) == 256 * per_wording
    assert set(Counter(question.phrasing for question in questions).values()) == {per_wording}
    assert all(f"{question.fact.a}" in question.text for question in questions)


def test_a_draw_is_its_seed():
    """The same generator asks the same; another one asks about other numbers."""
    first, again, other = (worded(np.random.default_rng(seed), 1) for seed in (0, 0, 1))
    assert first == again != other


def test_more_questions_than_families_are_refused():
    """Divisions of small numbers run out first, and the error says how many there are."""
    with pytest.raises(ValueError, match="divide has 195 such families left, 256 were requested"):
        worded(np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match="unknown operation 'power'"):
        worded(np.random.default_rng(0), 1, ["power"])
