"""Arithmetic: answers against Python's own, and the parsing that scores a completion."""

from __future__ import annotations

import ast
import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.statistics.intervals import exact
from lazarus_probe.tasks import arithmetic
from lazarus_probe.tasks.arithmetic import (
    ALL_PHRASINGS,
    OPERATIONS,
    PHRASINGS,
    Fact,
    facts,
    is_answer,
    number_words,
    parse_number,
)

PYTHON = {ast.Mult: operator.mul, ast.Add: operator.add, ast.Sub: operator.sub, ast.Div: operator.truediv}
SIZES = {"multiply": 2500, "add": 2500, "divide": 2500, "subtract": 3725}


def computed(expression: str) -> float:
    tree = ast.parse(expression.strip(), mode="eval").body
    assert isinstance(tree, ast.BinOp)
    return PYTHON[type(tree.op)](ast.literal_eval(tree.left), ast.literal_eval(tree.right))


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_answers_are_pythons(operation: str):
    """Every fact's answer is what Python makes of its symbolic form, in both symbolic phrasings."""
    found = list(facts(operation))
    assert len(set(found)) == len(found) == SIZES[operation]
    for fact in found:
        for phrasing in arithmetic.SYMBOLIC:
            assert computed(fact.prompt(phrasing).rstrip("= ")) == fact.answer > 0


@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_every_response_scores_as_right(operation: str):
    """In every phrasing the response is the answer, and the answer plus one is wrong."""
    for fact in list(facts(operation))[::97]:
        for phrasing in PHRASINGS:
            assert is_answer(fact.response(phrasing), fact.answer)
            assert not is_answer(fact.response(phrasing), fact.answer + 1)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("56", 56),
        (" 56", 56),
        ("2,209", 2209),
        ("2\u202f209", 2209),
        ("1,234,567.", 1234567),
        ("1000", 1000),
        ("100", 100),
        ("-14", -14),
        ("3.50", 3.5),
        ("2,209.", 2209),
        ("56, 57", 56),
        ("1,2", 1),
        ("1,2345", 1),
        ("56 is the answer", 56),
        ("the answer is 56", None),
        ("", None),
        (" ", None),
        ("-", None),
    ],
)
def test_parse_number(text: str, number: float | None):
    """A completion's number is read to its end, separators included, and words before it are no answer."""
    assert parse_number(text) == number


def test_a_longer_number_is_not_the_answer():
    """1000 is not 100, nor 100 1000; 2,209 is 2209."""
    assert not is_answer("1000", 100)
    assert not is_answer("100", 1000)
    assert is_answer("2,209", 2209)
    assert not is_answer("2,209", 2)


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc .?!\n", max_size=5))
def test_any_number_is_read_in_any_writing(number: int, after: str):
    """Plain or with separators, whatever words follow, a whole number is read as itself."""
    assert parse_number(f"{number}{after}") == number
    assert parse_number(f" {number:,}{after}") == number


def test_families_hold_what_must_stay_together():
    """7+8, 8+7, 15-7 and 15-8 are one family, as are 7*8, 8*7, 56/7 and 56/8."""
    assert {Fact("add", 7, 8).family, Fact("add", 8, 7).family} == {(7, 8)}
    assert {Fact("subtract", 15, 7).family, Fact("subtract", 15, 8).family} == {(7, 8)}
    assert {Fact("multiply", 7, 8).family, Fact("multiply", 8, 7).family} == {(7, 8)}
    assert {Fact("divide", 56, 7).family, Fact("divide", 56, 8).family} == {(7, 8)}
    assert Fact("add", 7, 9).family != (7, 8)


@pytest.mark.parametrize(
    ("number", "words"), [(0, "zero"), (13, "thirteen"), (40, "forty"), (56, "fifty-six")]
)
def test_number_words(number: int, words: str):
    """Numbers are spelt as in English."""
    assert number_words(number) == words


def test_number_words_are_different():
    """No two numbers up to a hundred share a spelling, and beyond it digits stay."""
    assert len({number_words(number) for number in range(101)}) == 101
    assert number_words(100) == "one hundred"
    assert number_words(101) == "101"


def test_unknown_names():
    """An unknown operation or phrasing is named with what would be right."""
    with pytest.raises(ValueError, match="unknown operation 'power'; give one of multiply"):
        facts("power")
    with pytest.raises(ValueError, match="unknown operation 'power'"):
        _ = Fact("power", 2, 3).answer
    with pytest.raises(ValueError, match="unknown phrasing 'sung'; give one of spaced"):
        Fact("add", 2, 3).prompt("sung")


def test_phrasings_are_enough_to_generalise_over():
    """40 phrasings that are told apart by more than a fact: a perfect probe on all of them is certain to .91."""
    prompts = {
        name: {Fact(operation, 15, 5).prompt(name) for operation in OPERATIONS} for name in ALL_PHRASINGS
    }
    assert len(ALL_PHRASINGS) == 40
    assert all(len(texts) == len(OPERATIONS) for texts in prompts.values())
    assert len(set.union(*prompts.values())) == 40 * len(OPERATIONS)
    assert exact(40, 40).low > 0.91


@pytest.mark.parametrize("phrasing", ALL_PHRASINGS)
def test_an_answer_continues_its_prompt(phrasing):
    """After a space or a sign the number follows; after a word, a space and the number."""
    fact = Fact("subtract", 15, 8)
    assert re.search(r"[ =:?a-z] ?7$", fact.prompt(phrasing) + fact.response(phrasing))
    assert "  " not in fact.prompt(phrasing) + fact.response(phrasing)
