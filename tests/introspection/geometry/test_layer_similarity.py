"""Similarity of prompts by layer, against loops by hand, and groups that are none."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.introspection.geometry.layer_similarity import (
    _least_p,
    cosines,
    layer_similarity,
)
from lazarus_probe.introspection.geometry.similarity import clusters, separation
from lazarus_probe.statistics.centred import centred_cosines
from lazarus_probe.subject.control_models import LESIONS, ControlModel
from lazarus_probe.tasks.arithmetic import Fact
from tests.cases import slow_except

CAPITALS = [f"The capital of {country} is" for country in ("France", "Italy", "Spain", "Japan")]
SUMS = ["2 + 3 = ", "15 + 8 = ", "9 + 17 = ", "22 + 4 = "]


def sums(answer):
    """Twenty sums with one answer."""
    return [Fact("add", a, answer - a).prompt() for a in range(2, 22)]


def test_cosines_are_those_of_single_runs(grouped):
    """Raw cells are cosines of two prompts' states at their last tokens, run one by one; spaces count."""
    prompts = ["a b", "a b ", "cat", "12 + 3 ="]
    for keep_outliers in (False, True):
        found = cosines(grouped, prompts, [0, 3], keep_outliers)
        for index, layer in enumerate((0, 3)):
            site = f"resid_post.{layer}"
            states = np.stack([np.array(trace(grouped, prompt, site)[site][0, -1]) for prompt in prompts])
            for i, j in combinations(range(4), 2):
                expected = states[i] @ states[j] / np.linalg.norm(states[i]) / np.linalg.norm(states[j])
                assert found[index].raw[i, j] == found[index].raw[j, i] == pytest.approx(expected, abs=1e-5)
            matrix = found[index].raw if keep_outliers else centred_cosines(states)
            np.testing.assert_allclose(found[index].matrix, matrix, atol=1e-3)
            assert (np.diag(found[index].matrix) == 1).all()
        assert found[0].raw[0, 1] < 0.999


def test_few_prompts_are_centred_on_unrelated_ones(grouped):
    """Two or three prompts leave no mean, which is then that of the unrelated prompts; the result says so."""
    prompts, unrelated = ["a b", "cat", "12 + 3 ="], unrelated_prompts().prompts
    for count in (2, 3):
        found = layer_similarity(grouped, prompts[:count], None, [2], untrained=0)
        states = collect(grouped, [*prompts[:count], *unrelated], ["resid_post.2"]).popitem()[1]
        among = np.arange(len(states)) >= count
        expected = centred_cosines(states, among)[:count, :count]
        np.testing.assert_allclose(found.matrices[0], expected, atol=1e-4)
        assert found.notes()[0].startswith(f"Cosines are centred on 48 unrelated prompts, as {count} are too")
        assert found.as_data()["centred_on"] == found.centre
    four = layer_similarity(grouped, [*prompts, "a"], None, [2], untrained=0)
    assert four.centre == "the other prompts of the run"
    raw = layer_similarity(grouped, prompts, None, [2], untrained=0, keep_outliers=True)
    assert raw.notes() == ["Cosines are raw: of all dimensions, and not centred."]
    assert raw.as_data()["centred_on"] is None


def test_an_outlier_dimension_is_named_and_left_out(grouped):
    """A dimension that a block writes to every token makes raw cosines 1, and changes nothing once left out."""
    prompts = ["a b", "cat", "12 + 3 =", "a", "9 + 3"]
    plain = layer_similarity(grouped, prompts, None, [2], untrained=0)
    assert plain.as_data()["outlier_dimensions"] == {"2": []}
    push = np.zeros(grouped.anatomy.hidden_size)
    push[5] = 500 * np.abs(collect(grouped, prompts, ["resid_post.2"]).popitem()[1]).max()
    with hooked(grouped, interventions=[steer("resid_post.2", push, 1.0)]):
        found = layer_similarity(grouped, prompts, None, [2], untrained=0)
    assert [outlier["dimension"] for outlier in found.as_data()["outlier_dimensions"]["2"]] == [5]
    assert "Left out: dimension 5, an outlier (L2 " in found.notes()[1]
    assert found.cosines[0].raw.min() > 0.999
    states = collect(grouped, prompts, ["resid_post.2"]).popitem()[1]
    expected = centred_cosines(np.delete(states, 5, axis=1))
    np.testing.assert_allclose(found.matrices[0], expected, atol=1e-4)


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


def test_sums_that_a_model_computes_are_apart(organism):
    """Questions with one answer lie together before it is said, and apart from those of the next number.

    Untrained and lesioned models do not know the answers; the operands are the same in both groups.
    """
    labels = ["24"] * 20 + ["25"] * 20
    found = layer_similarity(organism, sums(24) + sums(25), labels, [7])
    assert found.why_untestable() is None
    assert found.distinguishes(0)
    assert found.p[0] <= 0.05
    assert found.measurements[0].controls[0].low > 0
    assert str(found.verdict(0)).startswith("supported: ")
    data = found.as_data()
    assert list(data)[:5] == ["prompts", "labels", "layers", "similarity_matrices", "clusters"]
    assert np.shape(data["similarity_matrices"]["7"]) == (40, 40)
    assert data["clusters"]["7"]["separation"] == found.clusters[0].separation
    assert "24" in found._repr_html_()
    assert not layer_similarity(
        organism.untrained(9), sums(24) + sums(25), labels, [7], untrained=3
    ).distinguishes(0)


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
