"""The battery: it finds what the organism knows, and nothing in an untrained model."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.circuit.probes import Stratigraphy, stratigraphy
from lazarus_probe.circuit.sets import BUILT_IN, ProbeSet, as_set, built_in
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import LESIONS, lesioned
from lazarus_probe.tasks.language import NEGATIVE, POSITIVE
from tests.cases import slow_except


@pytest.fixture(scope="module")
def sentiment() -> ProbeSet:
    """Whether an opinion is good; each word a group, so that no word is met twice."""
    templates = ["Review: the {thing} was {group}. Sentiment:"]
    groups = {word: {"good": templates} for word in POSITIVE} | {
        word: {"bad": templates} for word in NEGATIVE
    }
    return as_set("sentiment", {"words": {"thing": ["film", "meal"]}, "groups": groups})


@pytest.fixture(scope="module")
def parity() -> ProbeSet:
    """Whether a sum is odd, which no linear readout of its operands tells; each pair of operands a group."""
    pairs = [(a, b) for a in range(2, 41) for b in range(a, 41)]
    drawn = [pairs[row] for row in np.random.default_rng(0).permutation(len(pairs))[:160]]
    groups = {f"{a},{b}": {"odd" if (a + b) % 2 else "even": [f"{a}+{b}="]} for a, b in drawn}
    return as_set("parity", {"groups": groups})


def test_organism(organism: Subject, parity: ProbeSet):
    """What the organism computes is readable, of held-out sums, and nothing else tells it."""
    found = stratigraphy(organism, [parity], [5], draws=199)
    probes = found.sets["parity"]
    assert probes.emergence == 5
    assert probes.q is not None
    assert probes.q <= 0.05
    data = found.as_data()
    published = {"accuracy", "cv_std", "baseline", "above_chance", "n_samples"}
    assert published < set(data["probes"]["parity"]["5"])
    assert data["emergence"]["parity"]["layer"] == 5
    assert "parity" in found._repr_html_()


def test_what_embeddings_tell_does_not_emerge(organism: Subject, sentiment: ProbeSet):
    """A word's sentiment stands in its embedding, and layers of random weights carry it to the last position."""
    probe = stratigraphy(organism, [sentiment], [5], draws=49).sets["sentiment"].layers[5]
    assert probe.accuracy > 0.95
    assert probe.verdict is not None
    assert probe.verdict.outcome is Outcome.CONFOUNDED
    reached = {control.name: control.score for control in probe.controls}
    assert min(reached[name] for name in ("token_embeddings", "new_blocks", "permuted_blocks")) > 0.9


@pytest.mark.parametrize("lesion", slow_except(LESIONS, LESIONS[-1]))
def test_a_lesioned_model_shows_nothing(
    organism: Subject, parity: ProbeSet, sentiment: ProbeSet, lesion: str
):
    """Trained embeddings alone let no property emerge."""
    found = stratigraphy(lesioned(organism, lesion, 7), [parity, sentiment], [5], threshold=0.5, draws=49)
    assert {name: each.emergence for name, each in found.sets.items()} == {
        "parity": None,
        "sentiment": None,
    }


def test_threshold(organism: Subject, sentiment: ProbeSet):
    """Nothing emerges below the threshold, nor without untrained model and shuffles."""
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


@pytest.fixture(scope="module", params=slow_except([("question",), BUILT_IN], ("question",)), ids=len)
def untrained(request: pytest.FixtureRequest, organism: Subject, sentiment: ProbeSet) -> Stratigraphy:
    """One set, or all of them, on an untrained model, with a low threshold."""
    sets = [*map(built_in, request.param), *([sentiment] if len(request.param) > 1 else [])]
    return stratigraphy(organism.untrained(), sets, [4], threshold=0.5, draws=99)


def test_untrained(untrained: Stratigraphy):
    """In an untrained model nothing emerges, in any set."""
    assert {name: each.emergence for name, each in untrained.sets.items()} == dict.fromkeys(untrained.sets)


def test_words_alone(untrained: Stratigraphy):
    """In no set does a bag of tokens know the label; where order alone tells, it is at chance."""
    for name in untrained.sets.keys() & set(BUILT_IN):
        controls = {control.name: control.score for control in untrained.sets[name].best.controls}
        assert controls["bag_of_tokens"] < 0.75
        assert name != "question" or controls["bag_of_tokens"] == controls["majority"]


def test_no_sets(organism: Subject):
    """A battery of nothing is refused."""
    with pytest.raises(ValueError, match="at least one"):
        stratigraphy(organism, [])
