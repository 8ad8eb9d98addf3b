"""The calculator: two numbers out of a prompt, and their result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.experiments.calculator import calculate, operands, solve
from lazarus_probe.tasks.arithmetic import OPERATIONS, PHRASINGS, Fact, is_answer


@given(
    operation=st.sampled_from(list(OPERATIONS)),
    phrasing=st.sampled_from(list(PHRASINGS)),
    a=st.integers(1, 10**6),
    b=st.integers(1, 10**6),
)
def test_every_phrasing_is_solved(operation, phrasing, a, b):
    """A fact in any phrasing, with numbers in digits or in words, gives its answer."""
    fact = Fact(operation, a * b if operation == "divide" else a, b)
    text = solve(fact.prompt(phrasing), operation)
    assert text is not None
    assert is_answer(text, fact.answer)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Subtract 8 from 15:", (15, 8)),
        ("subtract one hundred from 2,209:", (2209, 100)),
        ("What is Sixty-Four plus six?", (64, 6)),
        ("The capital of Peru is", None),
        ("assert x == 3", None),
        ("1 + 2 + 3 = ", None),
        ("Once upon a time there was someone", None),
    ],
)
def test_operands(prompt, expected):
    """Two numbers in the order they are calculated in; one, three or parts of words are none."""
    assert operands(prompt) == expected


@pytest.mark.parametrize(
    ("operation", "a", "b", "expected"),
    [
        ("divide", 7, 2, "3.5"),
        ("divide", 7, 0, None),
        ("subtract", 3, 5, "-2"),
        ("multiply", 10**9, 10**9, "1" + "0" * 18),
    ],
)
def test_results(operation, a, b, expected):
    """Quotients have their decimals, one by zero is none, and nothing overflows."""
    assert calculate(operation, a, b) == expected


def test_unknown_operation():
    """An operation that there is not is refused by name."""
    with pytest.raises(ValueError, match="unknown operation 'power'; give one of multiply"):
        calculate("power", 2, 3)
