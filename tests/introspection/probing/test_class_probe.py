"""Classes of prompts at every layer: a finding where the model computes it, none where its words or chance do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lazarus_probe.cli.probing.class_reading import verdict_lines, verdict_of
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.probing.class_probe import class_probe, labelled_classes, probabilities
from lazarus_probe.statistics.folds import grouped_folds
from lazarus_probe.subject import Subject
from lazarus_probe.subject.relative_depth import EMBED
from tests.cases import slow_except

PAIRS = [(int(a), int(b)) for a, b in np.random.default_rng(0).integers(2, 50, (60, 2))]


def parity() -> dict[str, list[str]]:
    """Sums by whether they are even: of which no single token tells anything."""
    found: dict[str, list[str]] = {"even": [], "odd": []}
    for a, b in PAIRS:
        found["odd" if (a + b) % 2 else "even"].append(f"{a} + {b} = ")
    return found


@pytest.fixture(scope="module")
def probed(organism: Subject) -> Any:
    """The organism, probed for the parity of sums."""
    return class_probe(
        organism, parity(), layers=[2, 5], tests=["22 + 22 = ", "22 + 23 = ", "{} + {} = ".format(*PAIRS[0])]
    )


def test_what_the_model_computes_is_found(probed: Any) -> None:
    """The parity of a sum, which no token gives away, is read from the trained model beyond every control."""
    verdict = verdict_of(probed)
    assert verdict.outcome == "supported"
    assert any("beyond every control" in line for line in verdict_lines(probed, verdict))
    assert probed.measurement.p < 0.01
    assert [each.layer for each in probed.scores] == [EMBED, 2, 5]
    assert probed.best.accuracy > 0.9 > 0.7 > probed.scores[0].accuracy


def test_tests_are_named_with_probabilities(probed: Any) -> None:
    """Test prompts are given a class and probabilities that sum to 1; one that was trained on is said to be."""
    assert [each.predicted for each in probed.predictions[:2]] == ["even", "odd"]
    assert [each.fitted_on for each in probed.predictions] == [False, False, True]
    for each in probed.predictions:
        assert sum(each.probabilities.values()) == pytest.approx(1)


def test_the_features_are_those_of_the_plain_forward(probed: Any, organism: Subject) -> None:
    """What the probe reads is the residual stream after the best layer at the last token."""
    site = f"resid_post.{probed.best_layer}"
    seen = np.array(trace(organism, probed.labelled.prompts[7], site).captures[site][0, -1])
    assert np.allclose(probed.features[7], seen, atol=1e-4)


def test_the_data_has_the_published_keys(probed: Any) -> None:
    """The data begins with the published keys; a result shows itself as HTML with the best layer named."""
    assert list(probed.as_data())[:6] == [
        "model",
        "num_layers",
        "classes",
        "layer_results",
        "best_layer",
        "best_accuracy",
    ]
    assert {"layer", "accuracy", "std"} <= set(probed.as_data()["layer_results"][0])
    assert f"best L{probed.best_layer}" in probed._repr_html_()


def test_words_that_give_the_class_away_are_no_finding(organism: Subject) -> None:
    """Operators are read from a bag of tokens: the verdict on them is not that the model holds them."""
    classes = {"+": [f"{a} + {b} = " for a, b in PAIRS[:14]], "-": [f"{a} - {b} = " for a, b in PAIRS[14:28]]}
    found = class_probe(organism, classes, layers=[1])
    assert found.measurement.controls[1].name == "bag_of_tokens"
    assert found.measurement.controls[1].score > 0.8
    assert str(verdict_of(found)).split(":")[0] in ("confounded", "inconclusive")


@pytest.mark.parametrize("seed", slow_except([0, 1, 2], 2))
def test_an_untrained_model_with_arbitrary_labels_shows_nothing(seed: int) -> None:
    """Labels drawn by chance are not found in a model that learned nothing, whatever the draw."""
    rng = np.random.default_rng(seed)
    texts = [f"{a} + {b} = " for a, b in PAIRS[:20]]
    rows = rng.permutation(20)
    classes = {"x": [texts[row] for row in rows[:10]], "y": [texts[row] for row in rows[10:]]}
    found = class_probe(Subject.load("organism-untrained"), classes, layers=[1, 4, 7], seed=seed)
    assert verdict_of(found).outcome != "supported"
    assert not any("beyond every control" in line for line in verdict_lines(found, verdict_of(found)))
    assert (found.measurement.p or 0) > 0.05


def test_probabilities_are_those_of_scikit_learn() -> None:
    """The probe that names test prompts is a logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    seen, unseen = rng.normal(2, 3, (30, 50)), rng.normal(2, 3, (5, 50))
    labels = np.repeat(["a", "b", "c"], 10)
    scaler = StandardScaler().fit(seen)
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit(scaler.transform(seen), labels)
    assert np.allclose(
        probabilities(seen, labels, unseen), theirs.predict_proba(scaler.transform(unseen)), atol=5e-3
    )


def test_std_is_that_of_the_folds(probed: Any) -> None:
    """`std` is the deviation of the accuracies of the folds."""
    labels, groups = probed.labelled.labels, probed.labelled.groups
    accuracy = probed.best.accuracy
    sizes = [len(test) for _, test in grouped_folds(labels, groups)]
    assert 0 <= probed.best.std <= np.sqrt(accuracy * (1 - accuracy) * len(labels) / min(sizes)) + 1e-9


def test_two_prompts_a_class_are_probed_without_a_finding(organism: Subject) -> None:
    """The smallest classes there can be are split and scored, and nothing is said to be found."""
    found = class_probe(
        organism, {"a": ["1 + 2 = ", "3 + 4 = "], "b": ["1 * 2 = ", "3 * 4 = "]}, layers=[1, 2]
    )
    assert found.chosen == "in search"
    assert str(verdict_of(found)).startswith("inconclusive")
    assert found.measurement.n == 4


def test_groups_are_kept_whole(organism: Subject) -> None:
    """With groups, independent units are the groups; the same text twice is one."""
    classes = {"a": ["1 + 2 = ", "1 + 2 = ", "3 + 4 = "], "b": ["1 * 2 = ", "3 * 4 = ", "5 * 6 = "]}
    assert len(set(labelled_classes(classes).groups)) == 5
    found = class_probe(organism, classes, layer=2, layers=[2], groups=["x", "x", "y", "x", "y", "z"])
    assert (found.measurement.groups, found.chosen, found.independent) == (3, "given", False)


@pytest.mark.parametrize(
    ("classes", "groups", "reason"),
    [
        ({"a": ["x", "y"]}, None, "1 class given"),
        ({"a": ["x", "y"], "b": ["z"]}, None, "class 'b' has 1 distinct prompt; each needs at least 2"),
        ({"a": ["x", "y"], "b": ["z", "z"]}, None, "class 'b' has 1 distinct prompt"),
        ({"a": ["x", "y"], "b": ["z", "x"]}, None, "prompt 'x' is in class 'a' and 'b'"),
        ({"a": ["x", "y"], "b": ["z", "w"]}, ["1"], "1 groups given for 4 prompts"),
        ({"a": ["x", "y"], "b": ["z", "w"]}, ["1", "2", "3", "3"], "class 'b' has 1 group;"),
        ({"a": ["x", "x"], "b": ["z", "w"]}, ["1", "2", "3", "1"], "prompt 'x' is in group '1' and '2'"),
    ],
)
def test_what_no_probe_can_be_tested_on_is_refused(classes: Any, groups: Any, reason: str) -> None:
    """Too few prompts, prompts of two classes and groups that do not fit are named in one line."""
    with pytest.raises(ValueError, match=reason):
        labelled_classes(classes, groups)


GOOD = ["The film was good", "My sister liked the soup", "They won the match", "The weather is lovely",
        "He passed his exam", "We enjoyed the concert"]  # fmt: skip
BAD = ["The film was bad", "My sister disliked the soup", "They lost the match", "The weather is awful",
       "He failed his exam", "We hated the concert"]  # fmt: skip


def test_matched_sentences_are_split_in_pairs(organism: Subject) -> None:
    """Twelve sentences in pairs that differ in a word: by default no score is below chance, and the text says why."""
    found = class_probe(organism, {"good": GOOD, "bad": BAD}, layers=[2], layer=2)
    assert (found.matched, found.measurement.groups, found.below_chance()) == (12, 6, [])
    text = "\n".join(verdict_lines(found, verdict_of(found)))
    assert "12 prompts are matched across classes" in text
    assert "which leaves 6 groups" in text
    assert "Below chance" not in text
    data = found.as_data()
    assert (data["matched_prompts"], data["groups_given"], data["below_chance"]) == (12, False, [])


def test_matched_sentences_on_both_sides_of_splits_are_noticed(organism: Subject) -> None:
    """With each in a group of its own the bag of words falls far below chance: gains over it are called little."""
    found = class_probe(organism, {"good": GOOD, "bad": BAD}, layers=[2], layer=2, groups=[*"abcdefghijkl"])
    assert "bag_of_tokens" in found.below_chance()
    assert found.matched == 0
    text = "\n".join(verdict_lines(found, verdict_of(found)))
    assert "Below chance (0.50) on held-out prompts: " in text
    assert "a bag of tokens" in text
    assert "Give --groups that keep them together" in text
    assert verdict_of(found).outcome != "supported"
    low = replace(found.measurement, score=0.0, low=0.0, high=0.1)
    assert verdict_of(replace(found, measurement=low)).reason.startswith("a held-out accuracy below chance")
