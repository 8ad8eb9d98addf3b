"""A run as a badge: JSON for the endpoint of shields.io."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.untrusted import clipped, in_line

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run

LONGEST = 60  # characters of a label


def badge(run: Run) -> dict[str, Any]:
    """How many of the claims that a run could test are supported; red where tests broke, grey where none was tested."""
    names = ", ".join(dict.fromkeys(record.model.name for record in run.claims))
    tested = [record for record in run.claims if record.outcome != Outcome.NOT_APPLICABLE]
    supported = sum(record.outcome == Outcome.SUPPORTED for record in tested)
    message, colour = f"{supported} of {len(tested)} supported", "blue" if tested else "lightgrey"
    if run.broken:
        message, colour = f"{message}, {len(run.broken)} broken", "red"
    label = clipped(in_line(f"claims on {names}" if names else "claims"), LONGEST)
    return {"schemaVersion": 1, "label": label, "message": message, "color": colour}
