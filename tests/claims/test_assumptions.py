"""What a claim takes for granted: named with it, tested within it or by a claim beside it."""

from __future__ import annotations

import pytest

from lazarus_probe.claims.claim import Assumption, ClaimError
from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.claims.library import library
from lazarus_probe.reports.closing import shaken

CLAIM = """\
- id: {id}
  statement: It is so.
  source: a paper
  kind: decodability
  threshold: 0.9
  controls: [majority]
  generalises_over: [phrasing]
  assumes:
    - that: Words do not matter.
      {test}
"""
TOPICS = ("circuits", "facts", "heads", "representations", "stream")


def declared(tmp_path, test, name="other"):
    """The claims of a folder that holds one whose assumption is tested so, and one beside it."""
    (tmp_path / "claims.yaml").write_text(CLAIM.format(id="c", test=test) + CLAIM.format(id=name, test=""))
    return read_claims(tmp_path)


@pytest.mark.parametrize("by", ["majority", "phrasing", "other"])
def test_a_control_a_kind_of_units_or_another_claim_tests_an_assumption(tmp_path, by):
    """Each is found by its name."""
    claims = declared(tmp_path, f"tested_by: {by}")
    assert claims["c"].assumes == (Assumption(that="Words do not matter.", tested_by=by),)
    assert claims["other"].assumes[0].tested_by == ""


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("tested_by: phrasings", r"claims\.yaml:1: claim 'c': .*'phrasings'.*did you mean 'phrasing'\?"),
        ("tested_by: c", r"claims\.yaml:1: claim 'c': an assumption is tested by 'c', which is no control"),
        ("tested_by_whom: other", r"field 'assumes\.0\.tested_by_whom' is unknown; did you mean tested_by\?"),
        ("tested_by: [other]", r"field 'assumes\.0\.tested_by': .*string"),
    ],
)
def test_what_tests_nothing_is_refused_by_name(tmp_path, test, message):
    """A name that is neither in the claim nor beside it, the claim itself, or no name."""
    with pytest.raises(ClaimError, match=message):
        declared(tmp_path, test)


def test_assumptions_are_no_part_of_what_was_registered(a_claim):
    """They decide no verdict, so that a claim that names one more is the claim it was."""
    assert a_claim(assumes=[{"that": "Words do not matter."}]).hash == a_claim().hash


def test_published_findings_name_what_they_assume():
    """Each names something that is tested, or is itself the test of another's assumption."""
    claims = [item.claim for item in library() if item.topic in TOPICS]
    tests = {assumption.tested_by for claim in claims for assumption in claim.assumes}
    untested = [
        claim.id
        for claim in claims
        if claim.id not in tests and not any(assumption.tested_by for assumption in claim.assumes)
    ]
    assert len(claims) > 30
    assert untested == []


def test_what_is_supported_under_an_assumption_alone_is_told(a_claim, a_record):
    """A claim is supported, and the one that tests its assumption is not: on that model, and no other."""
    first = a_claim(assumes=[{"that": "Words do not matter.", "tested_by": "d"}])
    second = a_claim(id="d")
    records = [
        a_record(0.99, claim=first),
        a_record(0.1, claim=second),
        a_record(0.99, claim=first, model="other"),
        a_record(0.99, claim=second, model="other"),
    ]
    assert [record.outcome for record in records] == ["supported", "refuted", "supported", "supported"]
    assert shaken(records) == [
        "c on tiny: supported, but d is refuted, so that it rests on an assumption: Words do not matter."
    ]
