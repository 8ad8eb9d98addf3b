"""The section of a model card that says what was verified about the model, what was not found, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.claims.claim import POSITIVE, Claim
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, named_seeds
from lazarus_probe.reports.summary import nothing_tested
from lazarus_probe.statistics.intervals import estimate, shown
from lazarus_probe.untrusted import code, markdown, visible

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run

NOT_FOUND = ("refuted", "confounded", "inconclusive")


def card_markdown(run: Run, model: str | None = None) -> str:
    """A `Verified findings` section in Markdown.

    Args:
        run: what was tested.
        model: that the card is of; may be left out where the run is of one.

    Raises:
        ValueError: the run is not of that model, or of several and none is given.

    Example:
        >>> from lazarus_probe.reports import card_markdown, find_run
        >>> folder, run = find_run("after")
        >>> print(card_markdown(run, model="organism").splitlines()[0])
        ## Verified findings
    """
    records = records_of(run, model)
    supported = [record for record in records if record.outcome == "supported"]
    lines = ["## Verified findings", "", _tested(run, records), ""]
    if run.partial:
        lines += [f"The run is {run.how_partial}; {run.why_partial}.", ""]
    lines += [line for sentence in nothing_tested(records) for line in (f"**{markdown(sentence)}**", "")]
    lines += [line for record in supported for line in _finding(record)] or [
        "None of the claims is supported.",
        "",
    ]
    others = [record for record in records if record.outcome in NOT_FOUND]
    if others:
        lines += ["### Tested and not found", ""]
        lines += [f"- {markdown(f'{record.key}: {record.outcome}: {record.why}')}" for record in others]
        lines += [""]
    if moot := [record.key for record in records if record.outcome == "not applicable"]:
        lines += [f"Not applicable to this model: {markdown(', '.join(moot))}.", ""]
    return "\n".join([*lines, *_repeat(run, records[0])]) + "\n"


def records_of(run: Run, model: str | None) -> list[ClaimRecord]:
    """The records of one model.

    Raises:
        ValueError: the run is not of that model, or of several and none is given.
    """
    records = run.claims
    names = list(dict.fromkeys(record.model.name for record in records))
    if not names:
        raise ValueError("the run holds no verdict: a card needs one that is complete")
    if model is None and len(names) > 1:
        raise ValueError(f"the run is of {', '.join(names)}: say with --model which one the card is of")
    if model is not None and model not in names:
        raise ValueError(f"the run is not of {model}, it is of {', '.join(names)}")
    return [record for record in records if record.model.name == (model or names[0])]


def _tested(run: Run, records: Sequence[ClaimRecord]) -> str:
    model, claims = records[0].model, len({record.claim.id for record in records})
    package = run.environment.packages.get("lazarus_probe", "")
    families = len({record.claim.family for record in records})
    return (
        f"{claims} claims in {len(records)} cases were tested on {markdown(model.name)} ({model.num_layers} layers, "
        f"{markdown(model.dtype)}, fingerprint {code(model.fingerprint[:12])}) by lazarus_probe "
        f"{markdown(package)}. Each was declared with its thresholds and controls before it was measured; false "
        f"discoveries are held down in each of {families} declared families (Benjamini-Hochberg). Intervals are of 95%."
    )


def _finding(record: ClaimRecord) -> Iterator[str]:
    where = f" ({record.parameters})" if record.parameters else ""
    yield f"- **{markdown(record.claim.statement + where)}**"
    if record.measurement is not None:
        yield f"  {markdown(_numbers(record, record.measurement))}  "
        yield f"  {markdown(_controls(record.claim, record.measurement))}  "
        for counterexample in record.measurement.counterexamples:
            score = estimate(counterexample.score, counterexample.low, counterexample.high)
            yield f"  {markdown(f'It fails on {counterexample.where}: {score}.')}  "
    yield f"  Source: {markdown(record.claim.source)}; claim {code(record.claim.id)}, hash {code(record.claim_hash)}."
    yield ""


def _numbers(record: ClaimRecord, measurement: MeasurementRecord) -> str:
    claim = record.claim
    wanted = {"absence": "at most", "invariance": "within"}.get(claim.kind, "at least")
    q = "" if record.q is None else f", q = {record.q:.2g}"
    stability = f"; {record.stability}" if record.seeds else ""
    score = estimate(measurement.score, measurement.low, measurement.high)
    return (
        f"{measurement.counted} {score}, {wanted} {claim.threshold:g} was declared"
        f"; {measurement.n} prompts in {measurement.groups} independent groups{q}{stability}."
    )


def _controls(claim: Claim, measurement: MeasurementRecord) -> str:
    if not measurement.controls:
        return f"Controls not run: {', '.join(measurement.unmeasured)}."
    least = min(measurement.controls, key=lambda control: control.gain)
    verb = "reach beyond the score" if claim.kind in POSITIVE else "gain"
    scores = ", ".join(f"{control.name} {shown(control.score)}" for control in measurement.controls)
    gain = estimate(least.gain, least.low, least.high)
    return f"Controls: {scores}; least {verb} {gain}, over {least.name}."


def _repeat(run: Run, record: ClaimRecord) -> list[str]:
    """The command stands indented: nothing in an argument can end such a block."""
    versions = ", ".join(f"{name} {version}" for name, version in run.environment.packages.items())
    command = " ".join(visible(run.command).split())
    return [
        "### To repeat it",
        "",
        f"    {command}",
        "",
        f"Run {markdown(run.run)}, {named_seeds(run.seeds)}, model fingerprint {code(record.model.fingerprint)}, on "
        f"{markdown(run.environment.platform)} ({markdown(run.environment.device)}, BLAS "
        f"{markdown(run.environment.blas)}), Python {markdown(run.environment.python)}, {markdown(versions)}.",
    ]
