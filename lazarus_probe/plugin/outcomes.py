"""From a claim's verdict to a test's outcome."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Literal

import pytest

from lazarus_probe.plain import storable, without_halves
from lazarus_probe.plugin.baselines import baselines
from lazarus_probe.plugin.collection import EVIDENCE, claim_of, is_claim
from lazarus_probe.plugin.errors import one_line
from lazarus_probe.plugin.models import label, parameters, uses_models
from lazarus_probe.plugin.pooled import RUNS
from lazarus_probe.plugin.readable import make_readable
from lazarus_probe.plugin.settings import fail_on
from lazarus_probe.untrusted import in_line, on_terminal

if TYPE_CHECKING:
    from lazarus_probe.claims.change import Change
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.claims.seed_runs import Judged

CASES: pytest.StashKey[int] = pytest.StashKey()
TestOutcome = Literal["passed", "failed", "skipped", "xfailed"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the run of a claim's test into its verdict."""
    report = yield
    if is_claim(item):
        report.probe_cases = item.config.stash.get(CASES, None)  # type: ignore[attr-defined]
    if EVIDENCE not in item.stash or call.when == "teardown" or not _is_judged(item, call, report):
        _tell_what_broke(item, call, report)
    if is_claim(item):
        make_readable(report)
    return report


def _tell_what_broke(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    if report.failed and call.excinfo is not None:
        report.longrepr = one_line(item, call.excinfo) or report.longrepr
    if report.failed and RUNS in item.stash:
        runs = item.stash[RUNS]
        report.sections.append(
            ("seeds", f"it broke with seed {runs.current} of {', '.join(map(str, runs.seeds))}")
        )
    if report.failed and call.when != "teardown" and is_claim(item):
        report.probe_broken = _broken(item, call, report)  # type: ignore[attr-defined]


def _is_judged(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> bool:
    """Give the report its verdict, if the test gave one; what cannot be judged or kept fails this test alone."""
    try:
        judged = _judged(item, call, report)
        if judged is not None:
            _apply(item, report, judged)
    except Exception as error:  # an error in here would end the session, and take every other claim with it
        report.outcome = "failed"
        report.longrepr = f"the measurement gave no verdict: {type(error).__name__}: {error}"
        return False
    return judged is not None


def _broken(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> dict[str, str]:
    """What a report keeps of a claim's test that gave no verdict; no path of the machine is in it."""
    error = call.excinfo.exconly(tryshort=True) if call.excinfo else str(report.longrepr)
    line = without_halves(" ".join(error.split())).replace(f"{item.config.rootpath}/", "")
    if RUNS in item.stash:
        line = f"with seed {item.stash[RUNS].current}: {line}"
    claim, case = claim_of(item).id, parameters(item)
    return {
        "test": without_halves(item.nodeid),
        "error": line if len(line) <= 500 else f"{line[:499]}\u2026",
        "claim": f"{claim}[{case}]" if case else claim,
        "model": _model_of(item),
    }


def _model_of(item: pytest.Item) -> str:
    """The model that a test ran on, or was to run on; a test whose `subject` is its own may break before it has one."""
    if EVIDENCE in item.stash:
        return item.stash[EVIDENCE][1].name
    return label(item.callspec.params["subject"]) if uses_models(item) else ""  # type: ignore[attr-defined]


def _judged(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> Judged | None:
    """The verdict, or None where the test itself broke: then pytest's own report stands."""
    from lazarus_probe.claims.claim import ClaimError, NotApplicable
    from lazarus_probe.claims.evidence import not_applicable
    from lazarus_probe.claims.seed_runs import Judged, judge_pooled

    reason = call.excinfo.value if call.excinfo else None
    if (reason is None and call.when == "setup") or not isinstance(reason, NotApplicable | None):
        return None
    evidence = item.stash[EVIDENCE][0]
    try:
        if RUNS in item.stash:
            return judge_pooled(evidence.claim, item.stash[RUNS].over)
        verdict = evidence.verdict() if reason is None else not_applicable(str(reason))
    except ClaimError as error:
        report.outcome, report.longrepr = "failed", str(error)
        return None
    return Judged(verdict, evidence.measurement, tuple(evidence.requirements))


def _apply(item: pytest.Item, report: pytest.TestReport, judged: Judged) -> None:
    record = _record(item, judged)
    record = record.model_copy(update={"known": baselines(item.config).known(record)})
    report.probe = record.model_dump(mode="json")  # type: ignore[attr-defined]
    _replace_properties(report.user_properties, record)
    _replace_properties(item.user_properties, record)  # junitxml takes them from the report of the teardown
    strict = item.config.getoption("probe_strict")
    outcome, text = so_far(record, strict=strict, failing=fail_on(item.config))
    show(report, outcome, text, (str(item.path), (item.location[1] or 0) + 1))


def _replace_properties(properties: list[tuple[str, object]], record: ClaimRecord) -> None:
    """Put the numbers of a record in place of those that an earlier attempt at the same test left."""
    ours = properties_of(record)
    names = {name for name, _ in ours}
    properties[:] = [*(property_pair for property_pair in properties if property_pair[0] not in names), *ours]


def show(report: pytest.TestReport, outcome: TestOutcome, text: str, location: tuple[str, int]) -> None:
    """Give a test's report another outcome."""
    text = on_terminal(text)
    if outcome == "skipped":
        report.outcome, report.longrepr = "skipped", (*location, text)
    elif outcome == "xfailed":
        report.outcome, report.wasxfail, report.longrepr = "skipped", text, text
    else:
        report.outcome, report.longrepr = outcome, (text or None)


def so_far(record: ClaimRecord, *, strict: bool, failing: frozenset[Change]) -> tuple[TestOutcome, str]:
    """The outcome of a claim while its family is still at work.

    What is supported or refuted may turn inconclusive in the family, and nothing else may turn: so a claim is shown as
    in the baseline as long as its family may still take it there. Where it does not, `Moves` shows that at the end.
    """
    before = record.known
    if before is None or record.expected is None:
        return outcome_of(record, strict=strict, failing=failing)
    may_end = {record.alone, "inconclusive"} if record.alone in ("supported", "refuted") else {record.alone}
    if may_end.isdisjoint((before.outcome, before.alone)):
        return outcome_of(record, strict=strict, failing=failing)
    if record.alone == "supported":
        return "passed", ""
    as_before = before.model_copy(update={"outcome": record.outcome, "alone": record.alone})
    as_known = record.model_copy(update={"known": as_before})
    return outcome_of(as_known, strict=strict, failing=failing)


def outcome_of(record: ClaimRecord, *, strict: bool, failing: frozenset[Change]) -> tuple[TestOutcome, str]:
    """The outcome in pytest and its text: a verdict that changed as in `failing` fails, one that is known does not.

    A claim that is newly measurable and does not fail for that is held to what it would be without a baseline: that it
    did not apply says nothing about it.
    """
    sentence = in_line(f"{record.outcome}: {record.why}")
    if record.change in failing:
        return "failed", f"the verdict changed: {in_line(record.known_line())}\n{sentence}"
    in_baseline = record.expected is not None and record.change != "newly measurable"
    if record.outcome == "supported":
        return "passed", ""
    if record.outcome == "inconclusive" and strict and not in_baseline:
        return "failed", f"{sentence} (a failure under --probe-strict)"
    if record.outcome in ("inconclusive", "not applicable"):
        return "skipped", sentence
    return ("xfailed" if in_baseline else "failed"), sentence


def _record(item: pytest.Item, judged: Judged) -> ClaimRecord:
    from lazarus_probe.claims.expectations import family_of
    from lazarus_probe.claims.record import ClaimRecord, judged_fields

    evidence, model = item.stash[EVIDENCE]
    claim = evidence.claim
    record = ClaimRecord(
        claim=claim,
        claim_hash=claim.hash,
        test=item.nodeid,
        parameters=parameters(item),
        model=model,
        family=family_of(claim, item.path, model.num_layers),
        **judged_fields(claim, judged),
    )
    # A unit, a place or a control's name stands in the reason too: here is the one way that all of it goes.
    return ClaimRecord.model_validate(storable(record.model_dump(mode="json")))


def properties_of(record: ClaimRecord) -> list[tuple[str, object]]:
    """The numbers, for junitxml; no text in them holds what XML cannot."""
    return [
        (in_line(name), in_line(value) if isinstance(value, str) else value) for name, value in _pairs(record)
    ]


def _pairs(record: ClaimRecord) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = [
        ("claim", record.key),
        ("model", record.model.name),
        ("verdict", str(record.outcome)),
        ("alone", str(record.alone)),
        ("reason", record.reason),
    ]
    if record.seeds:
        pairs += [
            ("seeds", ",".join(str(seed_record.seed) for seed_record in record.seeds)),
            ("stability", record.stability),
        ]
    pairs += [(name, value) for name in ("p", "q") if (value := getattr(record, name)) is not None]
    if record.measurement is not None:
        measurement = record.measurement
        pairs += [
            (name, getattr(measurement, name)) for name in ("score", "low", "high", "n", "groups", "unit")
        ]
        pairs += [(f"gain over {control.name}", control.gain) for control in measurement.controls]
    return pairs
