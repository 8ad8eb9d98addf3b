"""Statements: words and wordings tell nothing, and topics have no word twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lazarus_probe.tasks.statements import TOPICS, statements


@pytest.mark.parametrize("denied", [False, True])
def test_a_word_is_as_often_in_true_statements_as_in_false_ones(denied):
    """So that no bag of words tells: the second words of a topic, and its wordings, are balanced."""
    drawn = statements(np.random.default_rng(0), denied=denied)
    for name in TOPICS:
        of_topic = [statement for statement in drawn if statement.topic == name]
        words = [Counter(s.text.split()[-1] for s in of_topic if s.true is true) for true in (True, False)]
        if not denied:
            assert words[0] == words[1]
        assert sum(statement.true for statement in of_topic) * 2 == len(of_topic)
        pairs = Counter((statement.words, statement.true) for statement in of_topic)
        assert set(pairs.values()) == {1}


def test_no_two_pairs_of_a_topic_share_a_word():
    """Another pair's second word makes a statement false only where the two pairs have nothing in common."""
    for topic in TOPICS.values():
        for side in (0, 1):
            assert len({pair[side] for pair in topic.pairs}) == len(topic.pairs)


def test_a_denied_statement_with_the_other_word_is_true():
    """Half of the pairs are denied, and of those the false pair makes the true statement."""
    drawn = statements(np.random.default_rng(0), denied=True)
    denied = [statement for statement in drawn if "is not the capital" in statement.text]
    assert len(denied) == 8
    assert all(
        statement.true != ("Paris is not the capital of France" in statement.text)
        for statement in denied
        if "France" in statement.text and "Paris" in statement.text
    )
