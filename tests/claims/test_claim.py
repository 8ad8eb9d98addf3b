from __future__ import annotations

import pytest
from pydantic import ValidationError

from lazarus_probe.claims.claim import ClaimError, NotApplicable
from lazarus_probe.claims.evidence import Evidence
from lazarus_probe.claims.expectations import family_of, find_claim, read_claims
from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome

HASH_BEFORE_PARTS = "d597fc16f9ffbfed"


def test_hash_is_of_everything_declared(a_claim):
    """Moving any declared field moves the hash; writing the same anew does not."""
    assert a_claim().hash == a_claim(minimum_groups=10).hash
    moved = (
        {"threshold": 0.8},
        {"margin": 0.2},
        {"controls": ["twin"]},
        {"alpha": 0.01},
        {"parameters": {"n": 3}},
        {"cases": 2},
        {"published": {"gpt": {"value": 1}}},
    )
    hashes = {a_claim(**each).hash for each in moved}
    assert len({a_claim().hash, *hashes}) == 8


def test_claims_without_parts_keep_their_hash(a_claim):
    """What was declared before there were parts is what it was, and a part that moves shows."""
    assert a_claim().hash == HASH_BEFORE_PARTS
    parts = ({"minimality": 0.5, "stability": 0.33}, {"minimality": 0.5, "stability": 0.4})
    assert len({a_claim(kind="circuit", parts=part).hash for part in parts}) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "circuit"},
        {"kind": "circuit", "parts": {"minimality": 0.5}},
        {"kind": "circuit", "parts": {"minimality": 0.5, "stability": 0.3, "beauty": 0.1}},
        {"parts": {"minimality": 0.5, "stability": 0.33}},
    ],
)
def test_circuits_declare_both_parts_and_nothing_else_does(a_claim, fields):
    """A part that no circuit has, one that is missing, or parts of a claim of another kind."""
    with pytest.raises(ClaimError, match="a claim of kind circuit declares minimality and stability"):
        a_claim(**fields)


def test_a_misspelt_field_is_told_before_the_one_that_is_missing_by_it(tmp_path):
    """`treshold:` in a file is the mistake, and not that `threshold` is missing."""
    (tmp_path / "expectations").mkdir()
    text = "- id: c\n  statement: s\n  source: x\n  kind: absence\n  treshold: 0.5\n  controls: [a]\n"
    (tmp_path / "expectations" / "claims.yaml").write_text(text)
    message = r"claims\.yaml:5: claim 'c': field 'treshold' is unknown; did you mean threshold\?"
    with pytest.raises(ClaimError, match=message):
        find_claim("c", tmp_path / "test_x.py")


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
            "test: claim 'No Spaces': field 'id' is 'No Spaces'; give lower-case letters and digits, with",
        ),
        ({"kind": "hope"}, "test: claim 'c': field 'kind' is 'hope'; give one of decodability, causal_"),
        ({"threshold": float("inf")}, "field 'threshold': Input should be a finite number"),
        ({"minimum_groups": 1}, "field 'minimum_groups': .* greater than or equal to 2, not 1"),
        ({"parameters": {"x": {1}}}, "field 'parameters"),
        ({"source": ""}, "field 'source': String should have at least 1 character"),
        ({"kind": "decodabilty"}, "field 'kind' is 'decodabilty'; did you mean decodability[?] give one of"),
        ({"extra": 1}, "field 'extra' is unknown; give one of id, statement"),
        (
            {"minimum-group": 12},
            "field 'minimum-group' is unknown; did you mean minimum_groups[?] give one of",
        ),
        ({"threshold": 1.5}, "field 'threshold': Input should be less than or equal to 1, not 1.5"),
        ({"alpha": 0.5}, "field 'alpha': Input should be less than 0.5, not 0.5"),
        ({"cases": 0}, "cases is 0: give 1 or more, or `layers`"),
        (
            {"kind": "invariance", "threshold": 0},
            "threshold is 0: an invariance holds within a threshold above 0",
        ),
        ({"effect": 0.5}, "effect is 0.5: a score that would not meet the threshold, 0.9"),
        ({"needs": ["luck"]}, "field 'needs.0' is 'luck'; give one of moe, tuned pair"),
        (
            {"published": {"gpt": {"layer": 24, "layers": 24}}},
            "layer 24 needs `layers`, .* and to be below it",
        ),
        (
            {"published": {"gpt": {"lair": 2}}},
            "field 'published.gpt.lair' is unknown; did you mean layer[?] give one of layer, layers",
        ),
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
    with pytest.raises(ClaimError, match=r"test_x\.py: claim 'e' is not pre-registered; give one of c, d"):
        find_claim("e", tmp_path / "test_x.py")


def test_errors_name_the_line(tmp_path):
    """What is wrong in a file is named with its line: a field, a repeated field, a repeated id, broken YAML."""
    good = "- id: a\n  statement: s\n  source: s\n  kind: absence\n  threshold: 0.1\n  controls: [x]\n"
    bad = {
        good.replace("0.1", "high"): r"a\.yaml:5: claim 'a': field 'threshold': .* not 'high'",
        f"# first\n{good}  threshold: 0.2\n": r"a\.yaml:8 cannot be read as YAML: 'threshold' is a duplicate key",
        good + good: r"a\.yaml:7: claim 'a' is declared twice, first in a\.yaml:1",
        good.replace("  source: s\n", ""): r"a\.yaml:1: claim 'a': field 'source' is missing",
        good + "- [": r"a\.yaml:7 cannot be read as YAML: ",
        "- !!python/object:os.system {}": r"a\.yaml:1 cannot be read as YAML: ",
    }
    for number, (text, message) in enumerate(bad.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.yaml").write_text(text)
        with pytest.raises(ClaimError, match=message):
            read_claims(folder)


@pytest.mark.parametrize(
    ("model", "num_layers", "layer"),
    [
        ("mlx-community/Llama-3.2-1B-Instruct-bf16", 16, 9),
        ("TinyLlama-1.1B-Chat-v1.0", 22, 12),
        ("granite_3.1-2B", 40, 22),
        ("organism", 8, 4),
        ("Llama-3.2-1B", 12, 6),  # another model of that name
    ],
)
def test_layer_of_a_model(a_claim, model, num_layers, layer):
    """A model that was published about is looked at where it was; others at the relative depth."""
    published = {
        "Llama-3.2-1B": {"layer": 9, "layers": 16},
        "TinyLlama": {"layer": 12, "layers": 22},
        "granite-3.1-2b": {"layer": 22, "layers": 40},
    }
    claim = a_claim(published=published, depth=0.55)
    assert claim.layer_for(model, num_layers) == layer
    with pytest.raises(ClaimError, match="names no layer for organism of 8 layers: declare its `depth`"):
        a_claim().layer_for("organism", 8)


def test_family_is_what_the_folder_declares(tmp_path, a_claim):
    """A family holds the claims of that name in the folder, and the claim itself, each with its cases."""
    folder = tmp_path / "expectations"
    folder.mkdir()
    claims = [a_claim(cases=3), a_claim(id="d", cases="layers"), a_claim(id="e", family="other")]
    (folder / "a.yaml").write_text(
        "".join(f"- {claim.model_dump_json(exclude_none=True)}\n" for claim in claims)
    )
    assert family_of(claims[0], tmp_path / "test_x.py", 8) == {"c": 3, "d": 8}
    assert family_of(a_claim(id="mine"), tmp_path / "test_x.py", 8) == {"c": 3, "d": 8, "mine": 1}


def test_published_expectations_are_complete(request):
    """Every claim that this repository registers is valid, under an id of its own."""
    assert len(declared_claims()) >= 6


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
