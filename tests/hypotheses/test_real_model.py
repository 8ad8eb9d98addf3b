"""The page of a real model in docs/, against the baselines and beliefs that it is made from."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from lazarus_probe.claims.library import declared_claims

sys.path.insert(0, str(Path(__file__).parent))
import real_model


def test_the_page_is_what_its_baselines_make():
    """docs/real-model.md has the verdicts of both baselines: run python tests/hypotheses/real_model.py RUN.json."""
    page = real_model.DOCS.read_text(encoding="utf-8")
    made = real_model.render({}, real_model.baseline("smollm2"), real_model.baseline("organism"))
    assert real_model.without_reasons(page) == real_model.without_reasons(made)


def test_every_family_has_a_belief():
    """What is believed is said of every family of claims, and of no other."""
    beliefs = yaml.safe_load(real_model.BELIEFS.read_text(encoding="utf-8"))["families"]
    claims = declared_claims()
    assert set(beliefs) == {claim.family for claim in claims.values()}


def test_a_verdict_that_moved_shows():
    """Another outcome in a baseline is another page, another reason is not."""
    smollm2, organism = real_model.baseline("smollm2"), real_model.baseline("organism")
    case = next(iter(smollm2))
    page, reasoned, moved = (
        real_model.without_reasons(real_model.render(reasons, cases, organism))
        for reasons, cases in (
            ({}, smollm2),
            ({case: "too few"}, smollm2),
            ({}, {**smollm2, case: {**smollm2[case], "outcome": "supported"}}),
        )
    )
    assert page == reasoned != moved


def test_a_reason_stays_until_a_run_has_another():
    """Of a claim that no run holds the page keeps its reason, and takes the one of a run that does."""
    smollm2, organism = real_model.baseline("smollm2"), real_model.baseline("organism")
    page = real_model.render({"products-answered": "too few"}, smollm2, organism)
    kept = real_model.reasons_on(page) | {"operation-across-phrasings": "too few; confounded"}
    assert kept["products-answered"] == "too few"
    page = real_model.render({}, smollm2, organism, kept)
    assert real_model.reasons_on(page) == kept
    again = real_model.render({}, smollm2, organism, kept)
    assert again == page
    other = real_model.render({"products-answered": "none right"}, smollm2, organism, kept)
    assert real_model.reasons_on(other)["products-answered"] == "none right"
