"""What a session says at its end: the claims, their reasons, how many, and where the run lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import pytest

from lazarus_probe.plugin import shards
from lazarus_probe.plugin.baselines import baselines
from lazarus_probe.plugin.claim_lines import COLOURS
from lazarus_probe.untrusted import in_line

if TYPE_CHECKING:
    from lazarus_probe.claims.families import FamilyRecord
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.plugin.moves import Moves
    from lazarus_probe.reports.run import Run


class Session(Protocol):
    """A session of claims that is over; `run` is None where it gave none."""

    config: pytest.Config
    run: Run | None
    records: list[ClaimRecord]
    families: list[FamilyRecord]
    moves: Moves
    notes: list[str]
    problems: list[str]


def say(session: Session, reporter: pytest.TerminalReporter) -> None:
    """Print it all.

    Args:
        session: that is over.
        reporter: prints, in colour where pytest does.
    """
    if session.records:
        _of_claims(session, reporter)
    for note in session.notes:
        reporter.write_line(in_line(note))
    for problem in session.problems:
        reporter.write_line(f"ERROR: {in_line(problem)}", red=True)


def _of_claims(session: Session, reporter: pytest.TerminalReporter) -> None:
    from lazarus_probe.reports.claims_text import claims_lines, counts_line
    from lazarus_probe.reports.summary import nothing_tested

    def coloured(text: str, outcome: str) -> str:
        return reporter._tw.markup(text, **{COLOURS.get(outcome, "light"): True})

    reporter.section("claims")
    for line in claims_lines(session.records, _width(reporter), coloured):
        reporter.write_line(line)
    for line in ["", *_reasons(session), *_remarks(session)]:
        reporter.write_line(in_line(line))
    for line in _by_model(session, reporter):
        reporter.write_line(line)
    for line in nothing_tested(session.records):
        reporter.write_line(in_line(line), red=True, bold=True)
    reporter.write_line(counts_line(session.records, coloured))


def _width(reporter: pytest.TerminalReporter) -> int | None:
    """The columns to fit, of a terminal or as `COLUMNS` says; a file holds lines of any length."""
    return reporter._tw.fullwidth if reporter.isatty or os.environ.get("COLUMNS") else None


def _by_model(session: Session, reporter: pytest.TerminalReporter) -> list[str]:
    """The claims by models, where there are several."""
    if session.run is None or len({record.model.name for record in session.records}) < 2:
        return []
    from lazarus_probe.reports.versions.matrix import models_of
    from lazarus_probe.reports.versions.matrix_table import matrix_text

    matrix = models_of(session.run)
    return ["", *matrix_text(matrix, reporter._tw.fullwidth).splitlines()] if matrix else []


def _reasons(session: Session) -> list[str]:
    """A sentence for each claim that is not supported, unless it stands among the failures."""
    hidden = session.config.option.tbstyle == "no"
    return [
        record.sentence
        for record in session.records
        if (record.outcome != "supported" or record.changed)
        and (hidden or not session.moves.has_failed(record))
    ]


def _remarks(session: Session) -> list[str]:
    """What to know of families and baselines."""
    from lazarus_probe.claims.claim import ClaimError
    from lazarus_probe.reports.closing import changes, of_families, shaken, still

    option = session.config.getoption
    how = "--probe-update" if option("probe_baseline") == "auto" else "--probe-save NAME"
    keeps = option("probe_update") or option("probe_save")
    changed = changes(session.records, None if keeps else how)
    # In a shard every family is incomplete, and says nothing new.
    families = [] if shards.shard_of(session.config) else of_families(session.families)
    try:
        remarks = baselines(session.config).remarks(session.records)
    except ClaimError:  # it is among the problems
        remarks = []
    return [*families, *shaken(session.records), *still(session.records), *changed, *remarks]
