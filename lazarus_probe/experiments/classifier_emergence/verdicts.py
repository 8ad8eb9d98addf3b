"""From the runs of a study to verdicts and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.evidence import not_applicable
from lazarus_probe.claims.families import FamilyRecord, correct
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, ModelRecord
from lazarus_probe.claims.verdict import Verdict, claim_p, judge, refutation_p
from lazarus_probe.experiments.classifier_emergence.arms import ARMS
from lazarus_probe.experiments.classifier_emergence.measures import Runs, claims, measure, values
from lazarus_probe.experiments.classifier_emergence.phases import reading
from lazarus_probe.experiments.classifier_emergence.study import read_json, write_json
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.tables import Table

if TYPE_CHECKING:
    from lazarus_probe.experiments.classifier_emergence.study import Study

SCHEMA_VERSION = 1
PARTS = ("named", "probability", "answered", "others", "decoded")
HEADINGS = ("class word on top", "its probability", "answers right", "other tasks right", "probe accuracy")


@dataclass(frozen=True)
class Verdicts:
    """The results of a study.

    Attributes:
        records: one for each claim.
        families: in which the claims were corrected.
        tables: the measurements, arm by arm.
    """

    records: tuple[ClaimRecord, ...]
    families: tuple[FamilyRecord, ...]
    tables: tuple[Table, ...]


def precondition(study: Study) -> tuple[bool, str]:
    """Whether the claims apply to the model, which must answer often enough; with the numbers as text."""
    share = float(reading(study, "baseline").answered.mean())
    needed = max(float(str(claim.parameters["answered"])) for claim in claims().values())
    return share >= needed, f"answers {share:.2f} of the held-out items; {needed:.2f} needed"


def verify(study: Study, seeds: Sequence[int]) -> Verdicts:
    """Judge the claims by the runs of these seeds, and write `results/verify.json` and `results/verify.md`.

    Raises:
        OSError: a run is missing.
    """
    applies, answers = precondition(study)
    runs: Runs = {}
    if applies:
        runs = {
            arm: [study.run(arm, seed) for seed in (seeds if arm != "none" else seeds[:1])] for arm in ARMS
        }
    alone = [_judged(claim, study, runs, answers) for claim in claims().values()]
    records, families = correct(alone)
    tables = (_types(study), *((_arms(runs), _projections(runs)) if applies else ()), _phases(study))
    verdicts = Verdicts(tuple(records), tuple(families), tuple(table for table in tables if table.rows))
    write_json(study.result("verify"), _as_dict(study, seeds, verdicts))
    write_whole(study.result("verify").with_suffix(".md"), as_markdown(verdicts))
    return verdicts


def as_markdown(verdicts: Verdicts) -> str:
    """The tables and the verdicts with their reasons, as Markdown."""
    claim_table = Table(
        ("claim", "verdict", "why"),
        [(f"`{record.claim.id}`", str(record.outcome), record.reason) for record in verdicts.records],
        "claims",
    )
    return "\n".join(_markdown(table) for table in (*verdicts.tables, claim_table))


def _markdown(table: Table) -> str:
    lines = table.markdown(lambda text: text.replace("|", "\\|"))
    return "\n".join([f"{table.title[:1].upper()}{table.title[1:]}:", "", *lines, ""])


def _judged(claim: Claim, study: Study, runs: Runs, answers: str) -> ClaimRecord:
    measurement, verdict = None, not_applicable(answers)
    if runs:
        labels = [item.label for item in study.material.held_out]
        measurement = measure(
            claim, runs, 0, labels, {"layer": study.layer, "size": study.material.size.name}
        )
        verdict = judge(claim, measurement)
    return _record(claim, study, verdict, measurement, [answers] if runs else [])


def _record(
    claim: Claim, study: Study, verdict: Verdict, measurement: Any, requirements: list[str]
) -> ClaimRecord:
    subject = study.subject
    return ClaimRecord(
        claim=claim,
        claim_hash=claim.hash,
        test="lazarus experiment classifier-emergence",
        parameters=study.material.task.name,
        model=ModelRecord(
            name=subject.name,
            fingerprint=subject.fingerprint,
            num_layers=subject.num_layers,
            dtype=subject.dtype,
        ),
        outcome=verdict.outcome,
        alone=verdict.outcome,
        reason=verdict.reason,
        requirements=requirements,
        measurement=MeasurementRecord.model_validate(measurement.as_dict()) if measurement else None,
        p=claim_p(claim, measurement) if measurement else None,
        p_refuted=refutation_p(claim, measurement) if measurement else None,
        family={other.id: 1 for other in claims().values() if other.family == claim.family},
    )


def _as_dict(study: Study, seeds: Sequence[int], verdicts: Verdicts) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        **study.settings,
        "layer": study.layer,
        "seeds": list(seeds),
        "tables": [table.as_data() for table in verdicts.tables],
        "verdicts": [record.model_dump(mode="json") for record in verdicts.records],
        "families": [family.model_dump(mode="json") for family in verdicts.families],
    }


def _arms(runs: Runs) -> Table:
    """Every arm: means over seeds, with intervals over seeds."""
    rows = [
        (ARMS[arm].label, f"{len(of)}", f"{of[0].trainable:,}", *_cells(runs, arm))
        for arm, of in runs.items()
    ]
    return Table(("training", "seeds", "trained", *HEADINGS), rows, "arms, with intervals over their runs")


def _projections(runs: Runs) -> Table:
    """The published table of projections: in how many runs the class word is on top of most held-out items."""
    rows = []
    for arm in ("vo", "qk", "mlp", "all"):
        named = values(runs[arm], "named").mean(axis=1)
        ranks = ", ".join(f"{name.removesuffix('_proj')} {rank}" for name, rank in runs[arm][0].ranks.items())
        most = f"{(named > 1 - named).sum()}/{len(named)}"  # of the items: more on top than not
        rows.append((ARMS[arm].label, ranks, f"{runs[arm][0].trainable:,}", most, f"{named.min():.3f}"))
    columns = ("training", "ranks", "trained", "runs with most on top", "least run")
    return Table(columns, rows, "projections, at equal parameter count")


def _types(study: Study) -> Table:
    """The published table of two types of classifiers, before and after training, at the classifier layer."""
    probe = read_json(study.result("baseline_classifier"))["layers"][study.layer]
    names = [name for name in ("baseline", "phase1", "phase2") if study.result(name).exists()]
    readings = [reading(study, name) for name in names]
    rows = (
        ("hidden-space", "linear probe", *(_cell(phase_reading.decoded[None]) for phase_reading in readings)),
        (
            "vocabulary-aligned",
            "logit lens",
            *(_cell(phase_reading.named[None]) for phase_reading in readings),
        ),
    )
    controls = ", ".join(f"{name} {control['accuracy']:.2f}" for name, control in probe["controls"].items())
    title = (
        f"two types of classifiers at layer {study.layer} (the probe's controls before training: {controls})"
    )
    return Table(("type", "method", "before", *(f"after {name}" for name in names[1:])), rows, title)


def _phases(study: Study) -> Table:
    """The two published trainings, on held-out items."""
    names = [name for name in ("baseline", "phase1", "phase2") if study.result(name).exists()]
    rows = []
    for name in names:
        one = reading(study, name)
        rows.append((name, *(_cell(np.asarray(getattr(one, part))[None]) for part in PARTS)))
    title = "frozen classifier + routing, by the published configurations"
    return Table(("after", *HEADINGS), rows, title)


def _cells(runs: Runs, arm: str) -> tuple[str, ...]:
    return tuple(_cell(values(runs[arm], part)) for part in PARTS)


def _cell(scores: Any) -> str:
    """A mean over (S, N), with its interval over the S runs where there are several."""
    if not scores.size:
        return "-"
    mean = float(scores.mean())
    if len(scores) < 2:
        return f"{mean:.3f}"
    runs = np.repeat(np.arange(len(scores)), scores.shape[1])
    interval = bounded_mean_interval(scores.ravel(), runs, 0.0, 1.0)
    return estimate(mean, interval.low, interval.high)
