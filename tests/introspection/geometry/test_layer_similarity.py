"""Similarity of prompts by layer, against loops by hand, and groups that are none."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.geometry.layer_similarity import (
    _least_p,
    cosines,
    layer_similarity,
)
from lazarus_probe.introspection.geometry.similarity import clusters, separation
from lazarus_probe.subject.control_models import LESIONS, ControlModel
from lazarus_probe.tasks.arithmetic import Fact
from tests.cases import slow_except

CAPITALS = [f"The capital of {country} is" for country in ("France", "Italy", "Spain", "Japan")]
SUMS = ["2 + 3 = ", "15 + 8 = ", "9 + 17 = ", "22 + 4 = "]


def facts(operation):
    """Twenty facts of an operation, of the same numbers for each operation."""
    return [Fact(operation, a, 3).prompt() for a in range(2, 22)]


def test_cosines_are_those_of_single_runs(grouped):
    """Each cell is the cosine of two prompts' states at their last tokens, run one by one; spaces count."""
    prompts = ["a b", "a b ", "cat", "12 + 3 ="]
    found = cosines(grouped, prompts, [0, 3])
    for index, layer in enumerate((0, 3)):
        site = f"resid_post.{layer}"
        states = [np.array(trace(grouped, prompt, site)[site][0, -1]) for prompt in prompts]
        for i, j in combinations(range(4), 2):
            expected = states[i] @ states[j] / np.linalg.norm(states[i]) / np.linalg.norm(states[j])
            assert found[index, i, j] == found[index, j, i] == pytest.approx(expected, abs=1e-5)
        assert (np.diag(found[index]) == 1).all()
    assert found[0, 0, 1] < 0.999


def test_clusters_are_means_over_pairs():
    """Within and between are plain means over pairs of prompts; a label of one prompt has none within."""
    rng = np.random.default_rng(0)
    matrix = rng.uniform(size=(6, 6))
    matrix = (matrix + matrix.T) / 2
    labels = ["x", "y", "x", "y", "z", "x"]

    def mean(one, two):
        pairs = [(i, j) for i, j in combinations(range(6), 2) if {labels[i], labels[j]} == {one, two}]
        return np.mean([matrix[pair] for pair in pairs])

    found = clusters(matrix, labels)
    assert found.within == {"x": pytest.approx(mean("x", "x")), "y": pytest.approx(mean("y", "y")), "z": None}
    assert found.between == {f"{a}_{b}": pytest.approx(mean(a, b)) for a, b in ("xy", "xz", "yz")}
    within, between = [mean("x", "x"), mean("y", "y")], list(found.between.values())
    assert found.separation == pytest.approx(np.mean(within) - np.mean(between))
    assert clusters(matrix[:2, :2], ["x", "y"]).separation is None


def test_p_is_that_of_the_measured_separation(grouped):
    """It is how often shuffled labels separate prompts as well, at the best of the layers; groups of any size."""
    prompts, labels = ["a b", "a c", "a d", "7 + 8", "9 + 3", "cab", "car", "care", "card"], list("xxxyyzzzz")
    result = layer_similarity(grouped, prompts, labels, [1, 3], untrained=3)
    assert result.p is not None
    assert result.measurements is not None
    rng, best = np.random.default_rng(1), []
    for _ in range(500):
        dealt = rng.permutation(labels)
        best.append(max(separation(matrix, dealt).mean() for matrix in result.matrices))
    for p, measured in zip(result.p, result.measurements, strict=True):
        assert p == pytest.approx(np.mean(np.array(best) >= measured.score - 1e-9), abs=0.07)
        assert measured.p == p


def test_the_least_p_counts_arrangements():
    """So many prompts can reach one over the number of groupings that differ, counted one by one."""
    for sizes in ((2, 2), (3, 2), (1, 1), (2, 2, 2)):
        labels = np.repeat([str(i) for i in range(len(sizes))], sizes)
        groupings = {
            frozenset(frozenset(np.flatnonzero(np.array(order) == name).tolist()) for name in set(labels))
            for order in set(permutations(labels.tolist()))
        }
        assert _least_p(labels) == pytest.approx(1 / len(groupings))


def test_operations_that_a_model_learnt_are_apart(organism):
    """Products and sums of the same numbers lie apart beyond shuffled labels and untrained models."""
    found = layer_similarity(organism, facts("multiply") + facts("add"), ["times"] * 20 + ["plus"] * 20, [3])
    assert found.why_untestable() is None
    assert found.distinguishes(0)
    assert found.p[0] <= 0.05
    assert found.measurements[0].controls[0].low > 0
    assert str(found.verdict(0)).startswith("supported: ")
    data = found.as_data()
    assert list(data)[:5] == ["prompts", "labels", "layers", "similarity_matrices", "clusters"]
    assert np.shape(data["similarity_matrices"]["3"]) == (40, 40)
    assert data["clusters"]["3"]["separation"] == found.clusters[0].separation
    assert "times" in found._repr_html_()


@pytest.mark.parametrize("kind", slow_except(["untrained", *LESIONS], "untrained"))
def test_a_model_that_learnt_nothing_distinguishes_nothing(organism, kind):
    """The same prompts lie apart in an untrained or lesioned model too, as words do; that is no finding."""
    labels = ["capital"] * 4 + ["sum"] * 4
    subject = ControlModel(organism, kind, 1).build()
    found = layer_similarity(subject, CAPITALS + SUMS, labels, [2, 4, 6], untrained=3)
    assert min(found.p) <= 0.05
    assert [control.name for control in found.measurements[0].controls] == ["untrained", *LESIONS]
    assert not any(map(found.distinguishes, range(3)))


@pytest.mark.parametrize(
    ("count", "labels", "why"),
    [
        (2, None, "no labels"),
        (2, ["a", "b"], "n = 1, 1 prompts per label cannot show it"),
        (3, ["a", "a", "a"], "all prompts have one label"),
        (4, ["a", "a", "b", "b"], "n = 4 prompts cannot reach p = 0.05"),
        (8, ["a", "a", "a", "a", "b", "b", "b", "b"], "no untrained models"),
    ],
)
def test_what_cannot_be_shown_is_said(grouped, count, labels, why):
    """Too few prompts, one label or no untrained models show nothing, and the reason is given."""
    prompts = [f"{letter} b" for letter in "acdefghi"[:count]]
    found = layer_similarity(grouped, prompts, labels, [1], untrained=0)
    assert why in found.why_untestable()
    assert not found.distinguishes(0)
    twice = layer_similarity(grouped, ["a", "a", "b", "c"], ["x", "x", "y", "y"], [1], untrained=0)
    assert "given twice" in twice.why_untestable()


def test_wrong_shapes_are_named(grouped):
    """One prompt, labels of another number and too few untrained models are errors."""
    for prompts, labels, untrained, message in (
        (["a"], None, 0, "one prompt"),
        (["a", "b"], ["x"], 0, "1 labels for 2 prompts"),
        (["a", "b"], None, 2, "2 untrained models"),
    ):
        with pytest.raises(ValueError, match=message):
            layer_similarity(grouped, prompts, labels, [0], untrained=untrained)
