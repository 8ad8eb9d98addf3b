"""Numbers in completions: whole ones, the one that answers, and none that the limit of tokens cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.introspection.generation.completions import generate
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import Fact, is_answer, parse_number
from lazarus_probe.tasks.numbers import CutText, answer_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("56", 56),
        ("\n\n56\n", 56),
        ("The answer is 2,209.", 2209),
        ("7 * 8 is 56", 56),
        ("7 times 8 equals 56.", 56),
        ("7*8=56", 56),
        ("7 x 8 = 8 x 7 = 56", 56),
        (r"$7 \times 8 = 56$", 56),
        ("7 \u00d7 8 = 56", 56),
        ("100 - 37 = 63", 63),
        ("100 -37 is 63", 63),
        ("56 divided by 8 is 7", 7),
        ("7 * 8 = 7 * 7 + 7 = 49 + 7 = 56", 56),
        ("56 = 7 * 8", 56),
        ("56, since 7 * 8 = 56", 56),
        ("Step 1: multiply. The result is 56", 56),
        ("seven times eight is 56", 56),
        ("54. No, 56", 54),
        ("it is -5", -5),
        ("The answer is: 7 *", None),
        ("The answer is 7 times", None),
        ("The answer is 7 times eight.", None),
        ("7 * 8", None),
        ("fifty-six", None),
        ("", None),
    ],
)
def test_the_answer_is_read_wherever_it_comes(text, number):
    """Words, restated calculations and counted steps are skipped, and the first number after them is the answer."""
    assert answer_number(text) == number


@pytest.mark.parametrize(
    ("question", "text", "number"),
    [
        ("What is 7 times 8?", "The product of 7 and 8 is 56.", 56),
        ("Subtract 7 from 15:", "7 from 15 leaves 8", 8),
        ("Subtract 7 from 15:", "15 take away 7 is 8", 15),  # not one of the words for repeated operands
        ("Add 7 and 8:", "If you add 8 to 7 you get 15", 15),
        ("7 * 1 =", "7, because 7 * 1 = 7", 7),
        ("8 / 4 =", "2 (8 divided by 4)", 2),
        ("7 * 8 =", "If you have 7 groups of 8, you get 56", 56),
        ("2 * 2 =", "2 and 2 makes 4", 4),
        ("7 * 8 =", "The sum of 3 and 4", 3),
    ],
)
def test_numbers_of_the_question_are_not_its_answer(question, text, number):
    """Two numbers of the question side by side repeat it; another pair, or one number alone, does not."""
    assert answer_number(text, question) == number


@pytest.mark.parametrize("text", ["1111", " 1111", "56,", "56.", "The answer is 56", "7 * 8 = 56"])
def test_a_number_that_the_limit_may_have_cut_is_none(text):
    """What ends with the limit of tokens might go on; the same text that a model ended itself is its answer."""
    assert answer_number(CutText(text)) is None
    assert parse_number(CutText(text)) in (None, 7)  # the operand that the last one begins with
    assert answer_number(text) is not None


def test_a_cut_text_after_its_number_is_an_answer():
    """Where something follows the number, the limit has not cut it."""
    assert parse_number(CutText("56 and so on")) == 56
    assert is_answer(CutText("The answer is 56.\n"), 56)
    assert not is_answer(CutText("The answer is: 7 *"), 7)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_part_of_a_number_is_not_read(number, more):
    """Neither the beginning nor the end of a longer number is its value."""
    text = f"x {number}{more}"
    assert answer_number(text) == int(f"{number}{more}")


@given(st.sampled_from(["multiply", "add", "subtract", "divide"]), st.integers(1, 50), st.integers(1, 50))
def test_every_fact_is_read_behind_its_own_question(operation, a, b):
    """A completion that repeats a symbolic question before its answer gives the answer, whatever the operands."""
    first = {"subtract": a + b, "divide": a * b}.get(operation, a)
    fact = Fact(operation, first, b)
    assert is_answer(f"{fact.prompt('spaced')}{fact.answer}", fact.answer)
    assert is_answer(f"{fact.prompt('compact')}{fact.answer}.", fact.answer)


def test_greedy_and_generate_mark_what_the_limit_cut(organism):
    """A completion is marked where the model would have gone on, and is plain text where it ended it."""
    (whole,) = greedy(organism, ["47 * 47 = "], 8)
    assert whole == "2209"
    assert not isinstance(whole, CutText)
    (part,) = greedy(organism, ["47 * 47 = "], 1)
    assert part
    assert isinstance(part, CutText)
    assert whole.startswith(part)
    assert not is_answer(part, float(part))
    assert [isinstance(generate(organism, ["47 * 47 = "], n)[0].text, CutText) for n in (1, 8)] == [
        True,
        False,
    ]
    assert not isinstance(greedy(organism, ["47 * 47 = "], 1, stop=part)[0], CutText)
