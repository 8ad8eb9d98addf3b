"""Questions that are trained on and held-out ones, and the reading of a model on them."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.hooks.replay import replay
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.training.class_words import (
    PUBLISHED,
    Reading,
    compare,
    held_out_questions,
    published_questions,
    read,
    training_questions,
)
from lazarus_probe.training.dual_reward import class_tokens
from tests.tolerance import in_order, of_logits


@pytest.mark.parametrize("seed", [0, 1])
def test_no_family_is_on_both_sides(seed: int):
    """However many are trained on, no held-out or published question shares its operands with one of them."""
    trained = {question.family for question in training_questions(8000, seed)}
    assert not trained & {question.family for question in held_out_questions(200)}
    assert not trained & {question.family for question in published_questions()}


def test_training_questions_are_balanced_and_different():
    """As many of each operation as can be, none twice, and the seed decides which."""
    asked = training_questions(802)
    counts = [sum(q.fact.operation == name for q in asked) for name in OPERATIONS]
    assert counts == [201, 201, 200, 200]
    assert len({q.text for q in asked}) == 802
    assert asked == training_questions(802) != training_questions(802, seed=1)


def test_held_out_questions_are_independent():
    """Within an operation each family is asked about once, and never one of the published prompts."""
    asked = held_out_questions(100)
    for name in OPERATIONS:
        families = [q.family for q in asked if q.fact.operation == name]
        assert len(families) == len(set(families)) == 100
    assert not {q.family for q in asked} & {q.family for q in published_questions()}


def test_published_prompts_are_asked_as_published():
    """The eight prompts of the published table, with the space that belongs to them."""
    assert [q.text for q in published_questions()][:3] == ["7 * 8 = ", "12 * 5 = ", "23 + 45 = "]
    assert [fact.answer for fact in PUBLISHED] == [56, 60, 68, 55, 27, 55, 8, 9]


def test_reading_is_the_lens_and_the_answer(organism):
    """Top token and probability are those of the replayed residual at the last token; answers are parsed numbers."""
    asked, tokens, layer = held_out_questions(20), class_tokens(organism), 4
    found = read(organism, asked, tokens, layer)
    site = f"resid_post.{layer}"
    for index in (0, 41, 79):
        question = asked[index]
        run = trace(organism, [organism.encode(question.text)], site)
        logits = np.array(replay(organism, run[site]))[0, -1].astype(np.float64)
        weights = np.exp(logits - logits.max())
        assert in_order([found.top[index]], logits, of_logits(organism, logits))
        wanted = tokens[question.fact.operation]
        assert found.probability[index] == pytest.approx(weights[wanted] / weights.sum(), rel=1e-4)
        assert found.named[index] == (found.top[index] == wanted)
    assert found.answered.mean() > 0.95


def test_comparison_counts_by_operation():
    """Each operation's shares are those of its own rows, and the change is paired."""
    asked = held_out_questions(2)
    nothing = np.zeros(8)
    before = Reading(
        nothing.astype(int), nothing.astype(bool), nothing, np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    )
    after = Reading(
        nothing.astype(int),
        np.array([1, 1, 1, 0, 0, 0, 0, 0], bool),
        np.linspace(0, 0.7, 8),
        np.array([1, 0] * 4, bool),
    )
    rows = {row.operation: row for row in compare(asked, before, after)}
    assert list(rows) == [*OPERATIONS, "all"]
    assert [rows[name].named_after.share for name in rows] == [1.0, 0.5, 0.0, 0.0, 0.375]
    assert [rows[name].answers_change.share for name in rows] == [-0.5, -0.5, -0.5, 0.5, -0.25]
    assert rows["add"].probability_after == pytest.approx(0.25)
    for row in rows.values():
        for share in (row.named_after, row.answered_before, row.answers_change):
            assert share.low <= share.share <= share.high


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: training_questions(3), "3 samples are too few"),
        (lambda: training_questions(8005), "8004 at most"),
        (lambda: held_out_questions(1), "give at least 2"),
        (lambda: held_out_questions(249), "248 at most for multiply"),
    ],
)
def test_more_than_there_are_is_refused(call, named: str):
    """Too few or too many questions are refused with the number that there is."""
    with pytest.raises(ValueError, match=named):
        call()
