from __future__ import annotations

import pytest
from pydantic import ValidationError

from lazarus_probe.claims.claim import ClaimError, find_claim, read_claims
from lazarus_probe.claims.evidence import Evidence, NotApplicable
from lazarus_probe.claims.verdict import Outcome


def test_hash_is_of_everything_declared(a_claim):
    """Moving any declared field moves the hash; writing the same anew does not."""
    assert a_claim().hash == a_claim(minimum_groups=10).hash
    moved = (
        {"threshold": 0.8},
        {"margin": 0.2},
        {"controls": ["twin"]},
        {"alpha": 0.01},
        {"parameters": {"n": 3}},
    )
    hashes = {a_claim(**each).hash for each in moved}
    assert len({a_claim().hash, *hashes}) == 6


def test_claims_cannot_be_changed(a_claim):
    """What is pre-registered stays as it is."""
    with pytest.raises(ValidationError):
        a_claim().threshold = 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"controls": []}, "test: claim 'c': it has no controls; a claim needs at least one"),
        (
            {"id": "No Spaces"},
            "test: claim 'No Spaces': field 'id': String should match pattern .*, not 'No Spaces'",
        ),
        ({"kind": "hope"}, "test: claim 'c': field 'kind': Input should be 'decodability', .*, not 'hope'"),
        ({"threshold": float("inf")}, "field 'threshold': Input should be a finite number"),
        ({"minimum_groups": 1}, "field 'minimum_groups': .* greater than or equal to 2, not 1"),
        ({"parameters": {"x": {1}}}, "field 'parameters"),
        ({"source": ""}, "field 'source': String should have at least 1 character"),
        ({"extra": 1}, "field 'extra' is unknown; the fields are id, statement"),
    ],
)
def test_bad_fields_are_named_in_one_line(a_claim, changes, message):
    """A field that does not fit is named with what would."""
    with pytest.raises(ClaimError, match=message) as caught:
        a_claim(**changes)
    assert "\n" not in str(caught.value)


def test_claims_are_found_beside_their_test(tmp_path, a_claim):
    """An id stands for the claim of that id in any YAML file of `expectations/` beside the test."""
    folder = tmp_path / "expectations"
    folder.mkdir()
    text = a_claim().model_dump_json()
    (folder / "a.yaml").write_text(f"- {text}")
    (folder / "b.yaml").write_text(f"- {text}".replace('"c"', '"d"'))
    assert find_claim("d", tmp_path / "test_x.py").id == "d"
    assert read_claims(folder)["c"] == a_claim()
    with pytest.raises(ClaimError, match=r"test_x\.py: claim 'e' is not pre-registered; known: c, d"):
        find_claim("e", tmp_path / "test_x.py")


def test_published_expectations_are_complete(request):
    """Every claim that this repository registers is valid, under an id of its own."""
    assert len(read_claims(request.config.rootpath / "hypotheses" / "expectations")) >= 6


def test_evidence_takes_one_measurement(a_claim, measured):
    """One test, one measurement, one verdict; none and two are refused."""
    found = Evidence(a_claim(), seed=1)
    with pytest.raises(ClaimError, match=r"the test ended without evidence\.record"):
        found.verdict()
    found.record(measured(0.95))
    assert found.verdict().outcome == Outcome.SUPPORTED
    with pytest.raises(ClaimError, match="recorded twice: parametrise the test instead"):
        found.record(measured(0.95))


def test_preconditions(a_claim):
    """A precondition that holds is kept, one that fails ends the test."""
    found = Evidence(a_claim(), seed=1)
    found.require(True, "answers 0.98")
    with pytest.raises(NotApplicable, match=r"answers 0\.1"):
        found.require(False, "answers 0.1")
    assert found.requirements == ["answers 0.98"]
