"""The verifiable reward of arithmetic."""

from __future__ import annotations

import pytest

from lazarus_probe.tasks.arithmetic import OPERATIONS, PHRASINGS, facts
from lazarus_probe.tasks.rewards import arithmetic_reward, parse_question


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_every_question_is_read(operation: str, phrasing: str):
    """Every fact is read back out of every phrasing of it."""
    for fact in facts(operation):
        assert parse_question(fact.prompt(phrasing)) == fact


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("phrasing", PHRASINGS)
def test_right_and_wrong(operation: str, phrasing: str):
    """The right answer is worth 1, the one beside it, ten times it, and no answer are worth nothing."""
    for fact in list(facts(operation))[::97]:
        prompt = fact.prompt(phrasing)
        assert arithmetic_reward(prompt, fact.response(phrasing)) == 1.0
        for wrong in (f" {fact.answer + 1}", f" {fact.answer}0", "", " about", f"it is {fact.answer}"):
            assert arithmetic_reward(prompt, wrong) == 0.0


@pytest.mark.parametrize(
    ("prompt", "response", "reward"),
    [
        ("47*47=", "2,209", 1.0),
        ("10*10=", "1000", 0.0),
        ("7 * 8 =", " 56 and so on", 1.0),
        ("7/2=", "3.5", 1.0),
        ("7/2=", "3", 0.0),
        ("3-5=", "-2", 1.0),
        ("What is one hundred minus ninety-nine?", " 1", 1.0),
    ],
)
def test_written_in_any_usual_way(prompt: str, response: str, reward: float):
    """Separators, fractions and signs are part of a number, and what follows it is not."""
    assert arithmetic_reward(prompt, response) == reward


@pytest.mark.parametrize(
    "prompt", ["The capital of France is", "7 ^ 8 = ", "", "What is seven times blue?", "7*8*9="]
)
def test_no_question(prompt: str):
    """A prompt that asks no arithmetic is refused by name, not worth nothing."""
    with pytest.raises(ValueError, match="is no question"):
        arithmetic_reward(prompt, "56")


def test_by_zero():
    """A division by zero has no answer to be right about."""
    with pytest.raises(ValueError, match="divided by 0"):
        arithmetic_reward("7/0=", "0")
