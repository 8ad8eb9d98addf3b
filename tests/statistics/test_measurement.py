from __future__ import annotations

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.statistics.measurement import (
    Control,
    Counterexample,
    Curve,
    Example,
    Grid,
    Measurement,
    Strata,
    some_examples,
)

CONTROL = Control("majority", score=0.5, gain=0.4, low=0.3, high=0.5)
SOUND = Measurement(score=0.9, low=0.8, high=0.95, n=10, groups=5, unit="accuracy", controls=(CONTROL,))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_the_floor_is_finite(value):
    """A least score that is no number is refused, since what is judged against it would be neither above nor below."""
    with pytest.raises(ValueError, match=r"measurement has floor (nan|-inf): give a finite number"):
        replace(SOUND, floor=value)


@pytest.mark.parametrize("field", ["score", "low", "high"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_numbers_are_finite(field, value):
    """A number that is not finite is refused where it is made, and the message names it."""
    with pytest.raises(ValueError, match=f"measurement has {field} (nan|inf): give a finite number"):
        replace(SOUND, **{field: value})
    with pytest.raises(ValueError, match=f"control 'majority' has {field} (nan|inf): give a finite number"):
        replace(CONTROL, **{field: value})


def test_intervals_hold_their_scores():
    """An interval that does not hold what it is of is refused; rounding is no matter."""
    with pytest.raises(ValueError, match=r"has score 0.9 outside its interval \[0.8, 0.85\]"):
        replace(SOUND, high=0.85)
    with pytest.raises(
        ValueError, match=r"control 'majority' has gain 0.4 outside its interval \[0.45, 0.5\]"
    ):
        replace(CONTROL, low=0.45)
    assert replace(SOUND, high=0.9 - 1e-12).high < 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n is 0 and groups is 5: a measurement needs at least 1 of each"),
        ({"groups": 0}, "n is 10 and groups is 0"),
        ({"p": 1.2}, r"p is 1.2: give one in \[0, 1\]"),
        ({"p": float("nan")}, "p is nan"),
        ({"controls": ()}, r"the controls are \[\]: give at least one"),
        (
            {"controls": (CONTROL, CONTROL)},
            r"the controls are \['majority', 'majority'\]: .* a name of its own",
        ),
    ],
)
def test_what_no_verdict_can_rest_on_is_refused(changes, message):
    """No prompts, no groups, no controls, one control twice, or a p that is none: refused with the value."""
    with pytest.raises(ValueError, match=message):
        replace(SOUND, **changes)


def test_a_number_is_no_control():
    """A control has a name, a score and a gain; a bare number is refused where it is given."""
    with pytest.raises(TypeError, match=r"the controls hold 0.5: give a Control for each"):
        replace(SOUND, controls=(CONTROL, 0.5))


def test_details_that_cannot_be_kept_are_refused():
    """A detail that no report can hold is refused where it is made, not when the report is written."""
    with pytest.raises(TypeError, match="cannot be kept on a report: give a number, string or list"):
        replace(SOUND, details={"site": object()})


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), plain, max_size=3))
def test_plain_details_are_kept_as_they_are(details):
    """What is plain already comes through unchanged, and survives JSON."""
    kept = replace(SOUND, details=details).as_dict()["details"]
    assert kept == details
    assert json.loads(json.dumps(kept)) == details


def test_arrays_and_their_scalars_become_plain():
    """NumPy and mlx values come out as Python's own types, wherever they stand."""
    details = {
        1: np.arange(3),
        "nested": {"flag": np.bool_(True), "mean": mx.array(0.5)},
        "pair": (np.float32(1), 2),
    }
    found = replace(SOUND, score=np.float64(0.9), n=np.int64(10), details=details).as_dict()
    assert found["details"] == {"1": [0, 1, 2], "nested": {"flag": True, "mean": 0.5}, "pair": [1.0, 2]}
    assert [type(found[name]) for name in ("score", "n")] == [float, int]
    assert type(found["details"]["nested"]["flag"]) is bool


def test_odd_numbers_come_through():
    """A long double is a number, and what is not finite keeps its name, which JSON has no number for."""
    details = {
        "long": np.longdouble(0.5),
        "row": np.array([1, 2], np.longdouble),
        "off": [float("nan"), -np.inf],
    }
    assert replace(SOUND, details=details).as_dict()["details"] == {
        "long": 0.5,
        "row": [1.0, 2.0],
        "off": ["nan", "-inf"],
    }


@pytest.mark.parametrize("value", [b"x" * 10**6, {*range(10**5)}])
def test_a_large_value_is_refused_in_few_words(value):
    """What cannot be kept is named by its beginning, not by all of it."""
    with pytest.raises(TypeError, match=r"cannot be kept on a report") as error:
        replace(SOUND, details={"x": value})
    assert len(str(error.value)) < 200


class Itself:
    def tolist(self):
        return self


def test_a_list_of_itself_is_refused():
    """What calls itself its own list is no array."""
    with pytest.raises(TypeError, match=r"\(Itself\) cannot be kept on a report"):
        replace(SOUND, details={"x": Itself()})


def test_best_control_leaves_least_gain():
    """The best control is the one that the score gains least over."""
    close = Control("bag_of_tokens", score=0.8, gain=0.1, low=0.0, high=0.2)
    assert replace(SOUND, controls=(CONTROL, close)).best_control == close
    assert str(close) == "bag_of_tokens 0.80 (gain 0.10 [0.00, 0.20])"


def test_examples_show_misses_and_hits():
    """Of many prompts a few are kept, half of each sort; where one sort is rare the other fills up."""
    texts = [str(i) for i in range(20)]
    kept = some_examples(texts, texts, texts, [i % 2 == 0 for i in range(20)])
    assert [example.counted for example in kept] == [False] * 6 + [True] * 6
    few = some_examples(texts, texts, texts, np.arange(20) == 3)
    assert [example.prompt for example in few if example.counted] == ["3"]
    assert len(few) == 12
    assert some_examples(texts[:2], [1, 2], ["a", "b"], [True, True])[1] == Example("1", "2", "b", True)
    with pytest.raises(ValueError, match="shorter"):
        some_examples(texts, texts, texts, [True])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Curve("score", (), ()), "curve 'score' has 0 places"),
        (lambda: Curve("score", (0.0, 1.0), (0.5,)), "curve 'score' has 2 places: give as many scores"),
        (lambda: Curve("score", (0.0,), (0.5,), low=()), "give as many scores, and interval ends"),
        (lambda: Curve("score", (0.0,), (float("nan"),)), r"curve 'score' has y\[0\] nan"),
        (lambda: Grid("g", ("a",), ("b", "c"), ((1.0,),)), "grid 'g' has 1 rows and 2 columns"),
        (lambda: Grid("g", (), (), ()), "grid 'g' has 0 rows and 0 columns"),
        (lambda: Grid("g", ("a",), ("b",), ((float("inf"),),)), "grid 'g', row a has cell 0 inf"),
        (
            lambda: Counterexample("3 * x", (), 0.5, 0.6, 0.7, 4),
            "counterexample '3 \\* x' has score 0.5 outside",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    """A curve, a grid or a counterexample that does not fit is refused where it is made."""
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_shown_becomes_plain():
    """Curves, grids, examples and counterexamples come out as plain lists and dicts."""
    example = Example("7*8=", "56", "54", False)
    found = replace(
        SOUND,
        tokens=np.int64(40),
        examples=(example,),
        curves=(Curve("score", (0.0, 1.0), (0.1, 0.2)),),
        grids=(Grid("effect", ("L0",), ("7", "*"), ((np.float32(0.5), 1.0),)),),
        counterexamples=(Counterexample("two digits", (example,), 0.1, 0.0, 0.2, 64),),
    ).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["grids"][0]["values"] == [[0.5, 1.0]]
    assert found["counterexamples"][0]["examples"][0]["said"] == "54"


def test_groups_are_the_least_of_the_units():
    """An interval that generalises over phrasings and families rests on the fewer of them."""
    with pytest.raises(ValueError, match="give the least of the units"):
        replace(SOUND, groups=40, units={"phrasing": 9, "family": 40})


def test_one_phrasing_is_nothing_to_generalise_over():
    with pytest.raises(ValueError, match=r"units has 1 phrasing: .* give at least 2 of them"):
        replace(SOUND, groups=1, units={"phrasing": 1, "family": 40})


@pytest.mark.parametrize(
    "strata",
    [
        (1, 1, 0, 0.1),
        (72, 80, 0, 0.1),
        (72, 6, 7, 0.1),
        (72, 6, 0, 1.1),
        (10, 10, 5, 0.04),
        (100, 2, 0, 0.0),
        (8, 8, 0, 0.1, ("divide",)),
    ],
)
def test_strata_that_contradict_each_other_are_refused(strata):
    with pytest.raises(ValueError, match=r"strata|upper is"):
        Strata(*strata)
