"""Slices of prompts: what they hold, how they are halved, and which is the simplest."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from lazarus_probe.tasks.arithmetic import PHRASINGS, facts
from lazarus_probe.tasks.strategies import (
    DIGITS,
    SIMPLEST_FIRST,
    ArithmeticSlice,
    PairSlice,
    arithmetic_slices,
    half_of,
    pair_slices,
)

ALL = 10**6
quick = settings(derandomize=True, database=None, max_examples=60)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("operation", SIMPLEST_FIRST)
def test_slices_and_halves_part_all_facts(operation):
    """Over the sizes and both halves every fact of an operation comes up exactly once."""
    drawn = [
        question.fact
        for digits, part in product(DIGITS, ("search", "confirm"))
        for question in ArithmeticSlice(operation, "spaced", digits).draw(ALL, rng(), part)
    ]
    assert sorted(drawn) == sorted(facts(operation))


def test_no_family_is_on_both_sides():
    """What was asked in a search shares no operand family with what confirms it, in any slice."""
    families = {
        part: {
            question.fact.family
            for operation, digits in product(SIMPLEST_FIRST, DIGITS)
            for question in ArithmeticSlice(operation, "compact", digits).draw(ALL, rng(), part)
        }
        for part in ("search", "confirm")
    }
    assert not families["search"] & families["confirm"]
    assert 0.45 < len(families["search"]) / sum(map(len, families.values())) < 0.55
    assert half_of((7, 8)) == half_of((8, 7))


@quick
@given(st.sampled_from(arithmetic_slices()))
def test_questions_are_of_their_slice(where):
    """Operation, phrasing and size are those of the slice, the draw repeats itself, and its `repr` makes it again."""
    asked = where.draw(64, rng(), "search")
    assert asked == where.draw(64, rng(), "search")
    assert len({question.text for question in asked}) == len(asked) >= 20
    for question in asked:
        assert question.fact.operation == where.operation
        assert question.text == question.fact.prompt(where.phrasing)
        assert tuple(sorted(len(str(part)) for part in question.fact.family)) == where.digits
    assert eval(repr(where), {"ArithmeticSlice": ArithmeticSlice}) == where


@quick
@given(st.sampled_from(pair_slices()))
def test_pairs_are_of_the_same_numbers(where):
    """The questions of a pair have their numbers and phrasing in common and different answers."""
    for source, target in where.draw(64, rng(), "confirm"):
        assert (source.fact.operation, target.fact.operation) == (where.source, where.target)
        assert (source.fact.a, source.fact.b) == (target.fact.a, target.fact.b)
        assert source.phrasing == target.phrasing == where.phrasing
        assert source.fact.answer != target.fact.answer
    assert eval(repr(where), {"PairSlice": PairSlice}) == where


def test_pairs_that_both_operations_take():
    """Pairs of a slice are exactly the numbers for which both questions have a whole answer, and not the same."""
    drawn = [
        (source.fact.a, source.fact.b)
        for part in ("search", "confirm")
        for source, _ in PairSlice("divide", "subtract", "spaced", (1, 1)).draw(ALL, rng(), part)
    ]
    whole = [(a, b) for a in range(1, 10) for b in range(1, 10) if a % b == 0 and a > b and a / b != a - b]
    assert sorted(drawn) == whole


def test_the_simplest_comes_first():
    """The front of each list, and what a strategy of it shrinks to, is sums of digits, or the published pair."""
    assert arithmetic_slices()[0] == ArithmeticSlice("add", "spaced", (1, 1))
    assert pair_slices()[0] == PairSlice("multiply", "add", "compact", (1, 1))
    strategy = st.sampled_from(arithmetic_slices())
    assert find(strategy, lambda _: True, settings=quick) == arithmetic_slices()[0]


def test_every_slice_is_in_the_list_once():
    """All operations, phrasings and sizes, and all ordered pairs of operations: none is left to luck."""
    cells = set(product(SIMPLEST_FIRST, PHRASINGS, DIGITS))
    slices = arithmetic_slices()
    assert {(each.operation, each.phrasing, each.digits) for each in slices} == cells
    assert len(slices) == len(cells) == 108
    pairs = pair_slices()
    assert len(pairs) == len(set(pairs)) == 72
    assert all(pair.source != pair.target for pair in pairs)


def test_a_choice_of_slices():
    """Operations, phrasings and sizes are those that were asked for."""
    chosen = arithmetic_slices(operations=["divide"], phrasings=["is", "noun"], digits=[(2, 2)])
    assert chosen == (ArithmeticSlice("divide", "is", (2, 2)), ArithmeticSlice("divide", "noun", (2, 2)))
    assert str(ArithmeticSlice("divide", "is", (2, 2))) == "divide, is, 2-digit parts"
    assert str(PairSlice("multiply", "add", "compact", (1, 2))) == (
        "multiply into add, compact, 1- and 2-digit numbers"
    )


def test_unknown_names():
    """An unknown operation or phrasing is named when it is drawn from."""
    with pytest.raises(ValueError, match="unknown operation 'power'"):
        ArithmeticSlice("power", "spaced", (1, 1)).draw(1, rng(), "search")
    with pytest.raises(ValueError, match=f"unknown phrasing 'sung'; give one of {next(iter(PHRASINGS))}"):
        ArithmeticSlice("add", "sung", (1, 1)).draw(1, rng(), "search")
