"""Labels and scores of which one is missing: refused by name wherever they come in."""

from __future__ import annotations

import math
from decimal import Decimal

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.claims.falsification import Rows
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.statistics.controls import majority_predictions, paired_control
from lazarus_probe.statistics.folds import grouped_folds, halves
from lazarus_probe.statistics.null import permutation_null
from lazarus_probe.statistics.permutation import group_permutations
from lazarus_probe.statistics.probes.control_task import control_task
from lazarus_probe.statistics.probes.held_out import Problem, held_out
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_classification, out_of_fold_regression
from lazarus_probe.statistics.rates import rate, unpaired_control
from lazarus_probe.statistics.rows import numbers, present

GROUPS = list(range(8))
MISSING = [
    *(None, math.nan, math.inf, np.float32("nan")),
    *(Decimal("NaN"), np.ma.masked, np.datetime64("NaT"), np.timedelta64("NaT")),
]
FEATURES = np.random.default_rng(0).normal(size=(8, 3))


def with_one(value, others):
    return [*others[:5], value, *others[6:]]


@pytest.mark.parametrize("value", MISSING, ids=str)
@pytest.mark.parametrize("others", [[0, 1] * 4, ["a", "b"] * 4, [0.0, 1.0] * 4], ids=["int", "text", "float"])
def test_a_missing_row_is_named(value, others):
    """Whatever the other rows are, the error gives the argument, the row, the value and what would be right."""
    with pytest.raises(ValueError, match=rf"labels\[5\] is {value}: give a class, or a finite number"):
        present(with_one(value, others), "labels")


def test_arrays_are_looked_at_too():
    """An array of floats, of objects and of several columns is searched; one of text or whole numbers has nothing."""
    for rows in (
        np.array([0, math.nan]),
        np.array(["a", None], object),
        np.array([[1.0, 2.0], [1.0, math.nan]]),
        np.ma.array([0, 1, 1], mask=[False, True, True]),
        np.ma.array([["a", "b"], ["a", "b"]], mask=[[False, False], [False, True]]),
        np.ma.array([0.0, math.nan, 1.0], mask=[False, False, True]),
        np.array(["2026-01-01", "NaT"], "datetime64[D]"),
    ):
        with pytest.raises(ValueError, match=r"x\[1\] is"):
            present(rows, "x")
    assert present(np.array(["nan", "None"]), "x").tolist() == ["nan", "None"]
    assert present((True, 2), "x").tolist() == [1, 2]


def test_a_masked_feature_is_named():
    """A number behind a mask is none: its row is refused, whatever lies there."""
    masked = np.ma.array(FEATURES, mask=FEATURES[6, 1] == FEATURES)
    with pytest.raises(ValueError, match="features holds a number that is not finite in row 6"):
        out_of_fold_classification(masked, [0, 1] * 4, GROUPS)


def test_scores_are_numbers():
    """A score that is text is shown; booleans and whole numbers are scores."""
    assert numbers([True, False], "score").tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="score holds 'b': give a finite number for each row"):
        numbers([1, "b"], "score")


TAKE_LABELS = {
    "grouped_folds": lambda labels: grouped_folds(labels, GROUPS),
    "halves": lambda labels: halves(labels, GROUPS),
    "majority_predictions": majority_predictions,
    "classification": lambda labels: out_of_fold_classification(FEATURES, labels, GROUPS),
    "regression": lambda labels: grouped_folds(labels, GROUPS, kind="regression"),
    "permutation_null": lambda labels: permutation_null(FEATURES, labels, GROUPS),
    "group_permutations": lambda labels: group_permutations(labels, GROUPS, np.random.default_rng(0), 3),
    "ProbeDataset": lambda labels: ProbeDataset(["p"] * 8, labels, GROUPS),
    "held_out": lambda labels: held_out(
        Problem.of(FEATURES, np.asarray(labels), np.array(GROUPS), "classification", 0)
    ),
}


@pytest.mark.parametrize("name", TAKE_LABELS)
@pytest.mark.parametrize("value", [None, math.nan], ids=str)
def test_every_entry_of_labels_refuses(name, value):
    """Labels 0 and NaN, or 0 and None, are no two classes to any function that takes labels."""
    with pytest.raises(ValueError, match=r"labels\[0\] is (None|nan): give a class"):
        TAKE_LABELS[name]([value, 0, 1, 0, 1, 0, 1, 0])


TAKE_SCORES = {
    "score": lambda bad: rate("share", bad, GROUPS, {"other": [0] * 8}),
    "control 'other'": lambda bad: rate("share", [0] * 8, GROUPS, {"other": bad}),
    "paired": lambda bad: paired_control("other", [0] * 8, bad, GROUPS),
    "scores": lambda bad: Rows(GROUPS, bad, GROUPS, ["p"] * 8, ["e"] * 8, ["s"] * 8),
    "targets": lambda bad: out_of_fold_regression(FEATURES, bad, GROUPS),
}


@pytest.mark.parametrize("name", TAKE_SCORES)
@pytest.mark.parametrize("value", [None, math.nan, -math.inf], ids=str)
def test_every_entry_of_scores_refuses(name, value):
    """A score that is missing is refused under the argument's name and not as a difference that nobody gave."""
    with pytest.raises(ValueError, match=r"(score|other'|scores|targets|labels)\[2\] is "):
        TAKE_SCORES[name]([0, 1, value, 1, 0, 1, 0, 1])


def test_units_and_lengths_are_refused():
    """A unit that is missing, and a score and control of different prompts, are named."""
    with pytest.raises(ValueError, match=r"units\[1\] is None: give a name or number"):
        rate("share", [0, 1, 1], ["a", None, "b"], {"other": [0, 0, 0]})
    with pytest.raises(ValueError, match=r"control 'other' has shape \(2,\) and the score \(3,\)"):
        rate("share", [0, 1, 1], ["a", "b", "c"], {"other": [0, 0]})
    with pytest.raises(ValueError, match="units has 2 names for 3 prompts: give one a prompt"):
        rate("share", [0, 1, 1], ["a", "b"], {"other": [0, 0, 0]})
    with pytest.raises(ValueError, match="units 'b' has 2 names for 3 prompts: give one a prompt"):
        rate("share", [0, 1, 1], {"a": [1, 2, 3], "b": [1, 2]}, {"other": [0, 0, 0]})
    with pytest.raises(ValueError, match=r"units 'phrasing'\[2\] is nan"):
        rate("share", [0, 1, 1], {"family": [1, 2, 3], "phrasing": [1, 2, math.nan]}, {"other": [0, 0, 0]})
    with pytest.raises(ValueError, match=r"groups\[0\] is nan"):
        grouped_folds([0, 1, 0, 1], [math.nan, 1, 2, 3])
    measured = rate("share", [0, 1, 1], ["a", "b", "c"], {"other": [0, 0, 0]})
    with pytest.raises(ValueError, match=r"control 'far'\[1\] is nan"):
        unpaired_control("far", measured, [0, math.nan], ["a", "b"])


PAIRS = [(2, 3), (2, 3), (4, 5), (4, 5), (6, 7), (6, 7), (8, 9), (8, 9)]
COMPOUND = {
    "tuples": PAIRS,
    "lists": [list(pair) for pair in PAIRS],
    "array": np.array(PAIRS),
    "array of mlx": mx.array(PAIRS),
    "numbers of NumPy": [tuple(np.array(pair)) for pair in PAIRS],
    "of several types": [(f"p{a}", b) for a, b in PAIRS],
    "of several lengths": [(a, b, 1) if a == 2 else (a, b) for a, b in PAIRS],
}


@pytest.mark.parametrize("kind", COMPOUND)
def test_a_unit_may_be_a_pair(kind):
    """Prompts of one pair are one unit, as if the pair were written as a text, wherever units and groups come in."""
    score, other = [1, 0, 1, 1, 0, 1, 1, 1], {"other": [0, 0, 1, 0, 0, 0, 0, 1]}
    texts = [f"{a},{b}" for a, b in PAIRS]
    names = COMPOUND[kind]
    for units, plain in ((names, texts), ({"pair": names, "row": GROUPS}, {"pair": texts, "row": GROUPS})):
        one, two = rate("share", score, units, other), rate("share", score, plain, other)
        assert (one.low, one.high, one.groups, one.units) == (two.low, two.high, two.groups, two.units)
        assert one.controls == two.controls
    dataset = ProbeDataset(["p"] * 8, [0, 1] * 4, names, clusters=names, facts=names)
    assert len(set(dataset.groups.tolist())) == len(set(dataset.facts.tolist())) == 4
    assert dataset.take(np.array([0, 1, 2])).groups.tolist() == dataset.groups[:3].tolist()
    measured = rate("share", score, texts, other)
    assert unpaired_control("far", measured, score, names) == unpaired_control("far", measured, score, texts)


def test_classes_without_an_order_are_refused():
    """Text and numbers among one set of labels are named by their types; types to memorise by their own name."""
    with pytest.raises(ValueError, match="labels are of types int, str: give classes of one type"):
        grouped_folds(np.array([1, "a", 1, "a"], object), [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"types\[1\] is None"):
        control_task([1, None, 2], 2)


def test_an_unpaired_control_is_two_intervals():
    """The gain over other prompts is the difference of the rates, wider than either interval, of either sign."""
    measured = rate("share", [1] * 20, range(20), {"other": [0] * 20})
    control = unpaired_control("far", measured, [0] * 30, range(30))
    assert (control.score, control.gain) == (0, 1)
    assert control.low < measured.low
    assert unpaired_control("far", measured, [0] * 30, range(30), positive=True).gain == -1


class Column:
    """What a table calls a column: neither a list nor an array, but one can be had."""

    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


@pytest.mark.parametrize(
    "values",
    [
        mx.array([1.0, float("nan")]),
        mx.array([1.0, float("inf")]).astype(mx.bfloat16),
        [mx.array(1.0), mx.array(float("nan"))],
        [np.array(1.0), np.array(np.inf)],
        Column([1.0, None]),
    ],
    ids=["mlx", "bfloat16", "mlx scalars", "arrays of one", "column"],
)
def test_a_missing_row_of_other_arrays_is_named(values):
    """Arrays of mlx, lists of arrays of one number, and columns of tables are looked into."""
    with pytest.raises(ValueError, match=r"labels\[1\] is (nan|inf|None|array)"):
        present(values, "labels")


def test_other_arrays_are_numbers_where_none_is_missing():
    """Those of mlx in any precision, and columns."""
    for values in (mx.array([1, 2]).astype(mx.bfloat16), [mx.array(1.0), mx.array(2.0)], Column([1, 2])):
        np.testing.assert_array_equal(numbers(values, "score"), [1, 2])
