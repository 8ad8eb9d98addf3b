"""The battery: it finds what the organism knows, and nothing in an untrained model."""

from __future__ import annotations

import pytest

from lazarus_probe.circuit.probes import Stratigraphy, stratigraphy
from lazarus_probe.circuit.sets import BUILT_IN, ProbeSet, as_set, built_in
from lazarus_probe.subject import Subject
from lazarus_probe.tasks.language import NEGATIVE, POSITIVE


@pytest.fixture(scope="module")
def sentiment() -> ProbeSet:
    """Whether an opinion is good; each word a group, so that no word is met twice."""
    templates = ["Review: the {thing} was {group}. Sentiment:"]
    groups = {word: {"good": templates} for word in POSITIVE} | {
        word: {"bad": templates} for word in NEGATIVE
    }
    return as_set("sentiment", {"words": {"thing": ["film", "meal"]}, "groups": groups})


def test_organism(organism: Subject, sentiment: ProbeSet):
    """What the organism was taught is readable, of words that the probe has not met."""
    found = stratigraphy(organism, [sentiment], [0, 5], draws=199)
    probes = found.sets["sentiment"]
    assert probes.emergence == 0
    assert probes.q is not None
    assert probes.q <= 0.05
    data = found.as_data()
    published = {"accuracy", "cv_std", "baseline", "above_chance", "n_samples"}
    assert published < set(data["probes"]["sentiment"]["5"])
    assert data["emergence"]["sentiment"]["layer"] == 0
    assert "sentiment" in found._repr_html_()


def test_threshold(organism: Subject, sentiment: ProbeSet):
    """Nothing emerges below the threshold, nor without twin and shuffles."""
    assert (
        stratigraphy(organism, [sentiment], [5], threshold=1.0, draws=49).sets["sentiment"].emergence is None
    )
    found = stratigraphy(organism, [sentiment], [5], full=False)
    assert found.sets["sentiment"].emergence is None
    assert "emergence" not in found.as_data()
    assert [control.name for control in found.sets["sentiment"].best.controls] == [
        "majority",
        "bag_of_tokens",
    ]


@pytest.fixture(scope="module")
def untrained(organism: Subject, sentiment: ProbeSet) -> Stratigraphy:
    """All sets on an untrained model, with a low threshold."""
    sets = [*map(built_in, BUILT_IN), sentiment]
    return stratigraphy(organism.untrained(), sets, [4], threshold=0.5, draws=99)


def test_untrained(untrained: Stratigraphy):
    """In an untrained model nothing emerges, in any set."""
    assert {name: each.emergence for name, each in untrained.sets.items()} == dict.fromkeys(untrained.sets)


def test_words_alone(untrained: Stratigraphy):
    """In no set does a bag of tokens know the label; where order alone tells, it is at chance."""
    for name in BUILT_IN:
        controls = {control.name: control.score for control in untrained.sets[name].best.controls}
        assert controls["bag_of_tokens"] < 0.75
        assert name != "question" or controls["bag_of_tokens"] == controls["majority"]


def test_no_sets(organism: Subject):
    """A battery of nothing is refused."""
    with pytest.raises(ValueError, match="at least one"):
        stratigraphy(organism, [])
