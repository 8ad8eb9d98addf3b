"""From a claim's verdict to a test's outcome."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Literal

import pytest

from lazarus_probe.plugin.baselines import known
from lazarus_probe.plugin.collection import EVIDENCE
from lazarus_probe.plugin.errors import one_line
from lazarus_probe.plugin.models import parameters

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.claims.verdict import Verdict

Shown = Literal["passed", "failed", "skipped", "xfailed"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the run of a claim's test into its verdict."""
    report = yield
    if EVIDENCE in item.stash and call.when != "teardown" and (verdict := _verdict(item, call, report)):
        _apply(item, report, verdict)
    elif report.failed and call.excinfo is not None:
        report.longrepr = one_line(item, call.excinfo) or report.longrepr
    return report


def _verdict(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Verdict | None:
    """The verdict, or None where the test itself broke: then pytest's own report stands."""
    from lazarus_probe.claims.claim import ClaimError
    from lazarus_probe.claims.evidence import NotApplicable, not_applicable

    if call.excinfo is not None:
        reason = call.excinfo.value
        return not_applicable(str(reason)) if isinstance(reason, NotApplicable) else None
    if call.when == "setup":
        return None
    try:
        return item.stash[EVIDENCE][0].verdict()
    except ClaimError as error:
        report.outcome, report.longrepr = "failed", str(error)
        return None


def _apply(item: pytest.Item, report: pytest.TestReport, verdict: Verdict) -> None:
    record = _record(item, verdict)
    record = record.model_copy(update={"known": known(item.config, record)})
    report.probe = record.model_dump(mode="json")  # type: ignore[attr-defined]
    properties = _properties(record)
    report.user_properties.extend(properties)
    item.user_properties.extend(properties)  # junitxml takes them from the report of the teardown
    option = item.config.getoption
    outcome, text = outcome_of(record, strict=option("probe_strict"), saving=option("probe_save"))
    if outcome == "skipped":
        report.outcome, report.longrepr = "skipped", (str(item.path), (item.location[1] or 0) + 1, text)
    elif outcome == "xfailed":
        report.outcome, report.wasxfail, report.longrepr = "skipped", text, text
    else:
        report.outcome, report.longrepr = outcome, (text or None)


def outcome_of(record: ClaimRecord, *, strict: bool, saving: bool) -> tuple[Shown, str]:
    """The outcome in pytest and its text: a verdict that changed fails, one that is known does not."""
    sentence = f"{record.outcome}: {record.reason}"
    if record.changed:
        advice = "" if saving else "\nif that is right, keep it with --probe-save"
        return "failed", f"the verdict changed: {record.known_line()}\n{sentence}{advice}"
    if record.outcome == "supported":
        return "passed", ""
    if record.outcome == "inconclusive" and strict and record.known is None:
        return "failed", f"{sentence} (a failure under --probe-strict)"
    if record.outcome in ("inconclusive", "not applicable"):
        return "skipped", sentence
    return ("xfailed" if record.known else "failed"), sentence


def _record(item: pytest.Item, verdict: Verdict) -> ClaimRecord:
    from lazarus_probe.claims.claim import family_of
    from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord
    from lazarus_probe.claims.verdict import claim_p

    found, model = item.stash[EVIDENCE]
    claim, measured = found.claim, found.measurement
    return ClaimRecord(
        claim=claim,
        claim_hash=claim.hash,
        test=item.nodeid,
        parameters=parameters(item),
        model=model,
        outcome=verdict.outcome,
        alone=verdict.outcome,
        reason=verdict.reason,
        requirements=found.requirements,
        measurement=MeasurementRecord.model_validate(measured.as_dict()) if measured else None,
        p=claim_p(claim, measured) if measured else None,
        family=family_of(claim, item.path, model.num_layers),
    )


def _properties(record: ClaimRecord) -> list[tuple[str, object]]:
    """The numbers, for junitxml."""
    pairs: list[tuple[str, object]] = [
        ("claim", record.key),
        ("model", record.model.name),
        ("verdict", str(record.outcome)),
        ("reason", record.reason),
    ]
    if record.measurement is not None:
        found = record.measurement
        pairs += [
            (name, getattr(found, name)) for name in ("score", "low", "high", "n", "groups", "unit", "p")
        ]
        pairs += [(f"gain over {control.name}", control.gain) for control in found.controls]
    return pairs
