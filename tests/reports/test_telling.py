"""The verdicts that a page begins with."""

from __future__ import annotations

import re

from lazarus_probe.reports.page import page_html
from lazarus_probe.reports.sections import groups_of
from lazarus_probe.reports.telling import most_telling


def rows_of(run):
    return [row for group in groups_of(run) for row in group.rows]


def with_outcomes(run, *outcomes):
    """The run's first measured claims, a record each, called this."""
    records = list({record.claim.id: record for record in run.claims if record.measurement}.values())
    claims = [
        record.model_copy(update={"outcome": outcome, "known": None})
        for record, outcome in zip(records, outcomes, strict=False)
    ]
    return run.model_copy(update={"claims": claims})


def test_outcomes_take_turns(make_full_run):
    """Supported, confounded and refuted ones follow each other, and what is inconclusive is not among them."""
    run = with_outcomes(
        make_full_run(claims=12),
        *["supported"] * 3,
        *["inconclusive"] * 2,
        *["refuted"] * 2,
        *["confounded"] * 2,
    )
    outcomes = [str(row.record.outcome) for row in most_telling(rows_of(run))]
    assert outcomes == ["supported", "confounded", "refuted", "supported", "confounded"]


def test_the_largest_gain_beyond_its_margin_comes_first(make_full_run):
    """Of supported claims the one that is furthest from what a control does."""
    run = with_outcomes(make_full_run(claims=12), *["supported"] * 5)
    beyond = [
        min(control.gain for control in row.found.controls) - row.record.claim.margin
        for row in most_telling(rows_of(run))
    ]
    assert beyond == sorted(beyond, reverse=True)


def test_a_claim_stands_once_and_what_changed_first(make_full_run):
    """Records of one claim are one sentence; one whose verdict the baseline holds otherwise is before all others."""
    run = make_full_run(claims=9)
    telling = most_telling(rows_of(run))
    assert len({row.record.claim.id for row in telling}) == len(telling) <= 5
    changed = [row.record.changed for row in telling]
    assert any(changed)
    assert changed == sorted(changed, reverse=True)


def test_sentences_lead_to_their_cases(make_full_run):
    """Each has the statement, escaped, the score, and a link to the evidence; of few verdicts none is picked out."""
    run = with_outcomes(make_full_run(claims=9), *["supported"] * 4)
    page = page_html(run)
    listed = re.search(r'<ul class="telling">(.*?)</ul>', page, re.DOTALL)[1]
    assert listed.count("<li>") == 4
    for row in most_telling(rows_of(run)):
        assert f'href="#{row.slug}"' in listed
        assert row.record.claim.statement in listed
    assert 'class="telling"' not in page_html(with_outcomes(make_full_run(claims=9), "supported", "refuted"))


def test_unchanged_lines_are_folded(make_full_run):
    """Lines that neither changed nor moved are in a fold, and equal numbers have no interval."""
    run = make_full_run(claims=9)
    claims = [record.model_copy(update={"known": held_otherwise(record)}) for record in run.claims]
    page = page_html(run.model_copy(update={"claims": claims}))
    section = page[page.index('id="hchanges"') : page.index('id="hclaims"')]
    fold = section[section.index("<details") :]
    assert "the same numbers" in section
    assert 'class="moved"' in section[: section.index("<details")]
    assert 'class="moved"' not in fold


def held_otherwise(record):
    """What the baseline holds of a record, but with the numbers that it has now."""
    if record.known is None:
        return None
    numbers = {name: getattr(record.measurement, name) for name in ("score", "low", "high")}
    return record.known.model_copy(update={**numbers, "difference": None})
