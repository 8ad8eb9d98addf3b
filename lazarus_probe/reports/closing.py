"""What is said at the end of a run: of families, of the baseline, and in the summary of a CI job."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lazarus_probe.claims.families import FamilyRecord
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.reports.write import whole_summary

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run


def of_families(families: Sequence[FamilyRecord]) -> list[str]:
    """A sentence for each family that is incomplete, or in which a verdict did not survive."""
    return [family.sentence for family in families if family.missing or family.demoted]


def still(records: Sequence[ClaimRecord]) -> list[str]:
    """The same verdict as in the baseline, on a score that is another."""
    return [
        f"{record.key} on {record.model.name}: still {record.outcome}, and its score moved by {moved}"
        for record in records
        if not record.changed and record.known and (moved := record.known.difference) and moved.real
    ]


def shaken(records: Sequence[ClaimRecord]) -> list[str]:
    """What is supported under an assumption without which it is not: another claim, without it, has another verdict."""
    against = {
        (record.claim.id, record.model.name): record.outcome
        for record in records
        if record.outcome in (Outcome.REFUTED, Outcome.CONFOUNDED)
    }
    return [
        f"{record.key} on {record.model.name}: supported, but {assumption.tested_by} is "
        f"{against[assumption.tested_by, record.model.name]}, so that it rests on an assumption: {assumption.that}"
        for record in records
        if record.outcome is Outcome.SUPPORTED
        for assumption in record.claim.assumes
        if (assumption.tested_by, record.model.name) in against
    ]


def changes(records: Sequence[ClaimRecord], how_to_keep: str | None) -> list[str]:
    """How many verdicts changed since the baseline, and the option that keeps them, unless they are being kept."""
    counted = Counter(record.change for record in records if record.change)
    if not counted:
        return []
    counts = ", ".join(f"{number} {change}" for change, number in counted.items())
    lines = [f"verdicts that changed since the baseline: {counts}"]
    return (
        [*lines, f"if the changed verdicts are right, keep them with {how_to_keep}"] if how_to_keep else lines
    )


def untested(records: Sequence[ClaimRecord]) -> set[str]:
    """The models to which no claim applies, unless their baseline says so too."""
    new = {record.model.name for record in records if record.expected != "not applicable"}
    return new - {record.model.name for record in records if record.outcome != "not applicable"}


def append_step_summary(run: Run) -> None:
    """Add a run to the summary of the CI job, where `$GITHUB_STEP_SUMMARY` names it.

    Raises:
        OSError: it cannot be written.
    """
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        # A pipe that nobody reads is an error at once; opened as a file is it would hold the session up for ever.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)
        os.set_blocking(handle, True)
        with open(handle, "a", encoding="utf-8") as file:  # noqa: PTH123 - of a handle
            file.write(whole_summary(run))
