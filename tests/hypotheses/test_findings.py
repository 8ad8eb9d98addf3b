"""The page of published findings in docs/, against the baselines that it is made from."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import findings
import real_model

from lazarus_probe.claims.claim import make_claim


def test_the_page_is_what_its_baselines_make():
    """docs/findings.md has the verdicts of both baselines: run python tests/hypotheses/findings.py RUN.json."""
    page = findings.DOCS.read_text(encoding="utf-8")
    made = findings.render({}, real_model.baseline("smollm2"), real_model.baseline("organism"))
    assert findings.without_controls(page) == findings.without_controls(made)


def test_the_table_of_the_readme_is_of_both_baselines():
    """README.md shows what python tests/hypotheses/findings.py --readme prints."""
    made = findings.readme(real_model.baseline("smollm2"), real_model.baseline("organism"))
    assert made in (findings.table.ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_controls_said_stays_until_a_run_says_other():
    """The last column is kept by claim, and replaced where a run has the claim."""
    models = real_model.baseline("smollm2"), real_model.baseline("organism")
    page = findings.render({"pronoun-agrees-with-name": "no_name 0.50"}, *models)
    kept = findings.controls_on(page)
    assert kept["pronoun-agrees-with-name"] == "no_name 0.50"
    assert findings.render({}, *models, kept) == page
    other = findings.render({"pronoun-agrees-with-name": "untrained 0.48"}, *models, kept)
    assert findings.controls_on(other)["pronoun-agrees-with-name"] == "untrained 0.48"


def test_every_picture_is_there():
    """The page shows no picture that the repository lacks."""
    for name, _ in findings.PICTURES:
        assert (findings.DOCS.parent / "pictures" / name).stat().st_size > 1000


def test_the_ratio_is_of_one_score_and_one_number():
    """A score of .5 is half of a published 1.0; without one of the two there is no ratio."""
    fields = {"id": "a", "statement": "s", "source": "p", "family": "f", "kind": "decodability"}
    fields |= {"threshold": 0.1, "controls": ["c"]}
    published = make_claim({**fields, "published": {"gpt2": {"value": 1.0}}}, "here")
    assert findings.to_published(published, {"a": {"score": 0.5}}) == "0.50"
    assert findings.to_published(published, {"a": {"score": None}}) == ""
    assert findings.to_published(make_claim(fields, "here"), {"a": {"score": 0.5}}) == ""
