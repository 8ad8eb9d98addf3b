from __future__ import annotations

import pytest

from lazarus_probe.claims.families import correct
from lazarus_probe.claims.verdict import Outcome


@pytest.fixture
def member(a_record):
    """A record of the family `all`: its claim, p and verdict, and the family it was declared in."""

    def make(name, p, family, parameters="", outcome="supported", model="tiny"):
        record = a_record(model=model)
        changes = {"p": p, "parameters": parameters, "family": family, "outcome": Outcome(outcome)}
        claim = record.claim.model_copy(update={"id": name})
        return record.model_copy(update={**changes, "alone": Outcome(outcome), "claim": claim})

    return make


def test_q_is_of_the_declared_family(member):
    """A finding alone in a family of four costs four times its p, whether the others ran or not."""
    declared = {"a": 1, "b": 3}
    (alone,), (family,) = correct([member("a", 0.02, declared)])
    assert alone.q == pytest.approx(0.08)
    assert alone.outcome == Outcome.INCONCLUSIVE
    assert alone.alone == Outcome.SUPPORTED
    assert alone.reason.startswith(
        "supported alone (p = 0.02), but q = 0.08 in the family all of 4, at most 0.05 is needed; accuracy 0.95"
    )
    assert (family.size, family.tested) == (4, 1)
    assert family.missing == ["b (3 of 3)"]
    assert family.sentence == (
        "family all on tiny: 1 of 4 declared were tested; the others count as p = 1: b (3 of 3); "
        "inconclusive among so many: a"
    )


def test_others_that_are_found_help(member):
    """Benjamini and Hochberg: more findings in a family let each of them stand."""
    declared = {"b": 4}
    ran = [member("b", p, declared, parameters=f"L{i}") for i, p in enumerate((0.01, 0.02, 0.03, 0.9))]
    ran[3] = ran[3].model_copy(update={"alone": Outcome.REFUTED, "outcome": Outcome.REFUTED})
    found, (family,) = correct(ran)
    assert [record.q for record in found] == pytest.approx([0.04, 0.04, 0.04, 0.9])
    assert [record.outcome for record in found] == [*[Outcome.SUPPORTED] * 3, Outcome.REFUTED]
    assert family.missing == family.demoted == []


def test_what_gave_no_p_counts_as_one(member):
    """A claim that does not apply is missing from its family, and keeps its verdict."""
    declared = {"a": 1, "b": 1}
    moot = member("b", None, declared, outcome="not applicable")
    found, (family,) = correct([member("a", 0.03, declared), moot])
    assert [record.outcome for record in found] == [Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE]
    assert family.missing == ["b"]


def test_models_and_families_are_apart(member):
    """What is found on one model, or in one family, does not change another's; the order stays."""
    declared = {"a": 1}
    one, two = member("a", 0.04, declared), member("a", 0.6, declared, model="other", outcome="refuted")
    found, families = correct([two, one])
    assert [record.model.name for record in found] == ["other", "tiny"]
    assert found[1].outcome == Outcome.SUPPORTED
    assert {family.model for family in families} == {"other", "tiny"}


def test_refutations_are_corrected_as_supports_are(member):
    """One refutation among many that are not has to be the surer, as one support has."""
    declared = {"a": 1, "b": 3}
    refuted = member("a", 0.999, declared, outcome="refuted").model_copy(update={"p_refuted": 0.02})
    (alone,), (family,) = correct([refuted])
    assert (alone.outcome, alone.alone) == (Outcome.INCONCLUSIVE, Outcome.REFUTED)
    assert alone.reason.startswith("refuted alone (p = 0.02), but q = 0.08 in the family all of 4")
    assert alone.q_refuted == pytest.approx(0.08)
    assert family.demoted == ["a"]
    (sure,), _ = correct([refuted.model_copy(update={"p_refuted": 0.001})])
    assert sure.outcome == Outcome.REFUTED
