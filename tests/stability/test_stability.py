"""The table of verdicts by seed, on runs that are made up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lazarus_probe.claims.claim import make_claim
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, ModelRecord
from lazarus_probe.claims.verdict import claim_p, judge
from lazarus_probe.reports.run import Run, make_run
from lazarus_probe.statistics.measurement import Control, Measurement

sys.path.insert(0, str(Path(__file__).parent))
import stability


def record(name: str, score: float) -> ClaimRecord:
    fields = {
        "id": name,
        "statement": "It is so.",
        "source": "a paper",
        "family": name,
        "kind": "decodability",
    }
    claim = make_claim({**fields, "threshold": 0.9, "margin": 0.1, "controls": ["majority"]}, "test")
    control = Control("majority", score - 0.5, 0.5, 0.4, 0.6)
    found = Measurement(score, score - 0.02, score + 0.02, 100, 20, "accuracy", (control,))
    verdict = judge(claim, found)
    return ClaimRecord(
        claim=claim, claim_hash=claim.hash, test=f"t.py::test_{name}[tiny]", parameters="",
        model=ModelRecord(name="tiny", fingerprint="f" * 64, num_layers=2, dtype="float32"),
        outcome=verdict.outcome, alone=verdict.outcome, reason=verdict.reason, requirements=[],
        measurement=MeasurementRecord.model_validate(found.as_dict()), p=claim_p(claim, found), family={name: 1},
    )  # fmt: skip


def runs(**scores: list[float]) -> dict[int, Run]:
    """A run for each seed, with a claim of each name."""
    by_seed = zip(*scores.values(), strict=True)
    return {
        seed: make_run(
            correct([record(*each) for each in zip(scores, row, strict=True)])[0], [seed], [], partial=False
        )
        for seed, row in enumerate(by_seed)
    }


def test_flips_are_between_supported_and_its_opposites():
    """A verdict that is supported by one seed and refuted by another flips; to inconclusive it only changes."""
    found = {
        case.claim: case
        for case in stability.cases(
            runs(steady=[0.95] * 4, flips=[0.95, 0.85, 0.95, 0.95], wavers=[0.95, 0.9, 0.95, 0.95]), 2
        )
    }
    assert {name: case.flips for name, case in found.items()} == {
        "steady": False,
        "flips": True,
        "wavers": False,
    }
    assert found["flips"].alone == ("supported", "refuted", "supported", "supported")
    assert found["flips"].pooled == ("inconclusive", "supported")
    assert found["wavers"].pooled == ("supported", "supported")
    assert not any(case.pool_flips for case in found.values())


def test_a_pool_is_judged_by_its_own_numbers():
    """The pool of two seeds has the mean of their scores, and has the outcome of each alone."""
    (pooled,) = stability.pooled_records(runs(c=[0.95, 0.99]))
    assert pooled.measurement.score == pytest.approx(0.97)
    assert pooled.stability == "stable in 2 of 2 seeds"


def test_a_pool_is_judged_by_what_every_seed_measured():
    """A seed that was refuted without a control leaves a refuted pool; one that needs that control has no verdict."""
    made = runs(low=[0.5, 0.6], high=[0.5, 1.0])
    for record_ in made[0].claims:
        record_.measurement.controls.clear()
        record_.measurement.unmeasured.append("majority")
    pooled = {record_.claim.id: record_ for record_ in stability.pooled_records(made)}
    assert str(pooled["low"].outcome) == "refuted"
    assert "not run" in pooled["low"].reason
    low_alone = runs(wavers=[0.89, 0.95])
    for record_ in low_alone[0].claims:
        record_.measurement.controls.clear()
        record_.measurement.unmeasured.append("majority")
    assert stability.pooled_records(low_alone) == []
    (case,) = stability.cases(low_alone, 2)
    assert case.pooled == ("",)


def test_the_table_counts():
    """Each case is a line with a letter a seed, and the counts are of cases and of claims."""
    made = runs(steady=[0.95] * 4, flips=[0.95, 0.85, 0.95, 0.85])
    lines = list(stability.report(stability.cases(made, 2), list(made), 2))
    (flipping,) = [line for line in lines if line.endswith("FLIPS")]
    assert flipping.split() == ["tiny:", "flips", "SRSR", "ii", "0.85", "to", "0.95", "FLIPS"]
    assert (
        "1 of 2 cases flip between supported and refuted or confounded over the seeds, [0.01, 0.99]" in lines
    )
    assert "0 of 2 cases change their verdict between pools of 2, [0.00, 0.84]" in lines
    assert lines[-1] == "claims with a flip: 1 of 2 (flips)"


def test_a_case_that_a_seed_lacks_is_shown():
    """Where a run has no verdict of a case its place is marked, and no pool is made of the others."""
    made = runs(c=[0.95, 0.95, 0.95, 0.95], d=[0.95, 0.95, 0.95, 0.95])
    made[1] = made[1].model_copy(update={"claims": made[1].claims[:1]})
    (_, d) = stability.cases(made, 2)
    assert d.alone == ("supported", "", "supported", "supported")
    assert d.pooled == ("", "supported")


@pytest.mark.parametrize("arguments", [["--pool", "1"], ["--seeds", "3"], ["--seeds", "0"]])
def test_pools_that_cannot_be_made_are_refused(arguments, capsys):
    """A pool takes two seeds or more, and no more than there are."""
    with pytest.raises(SystemExit):
        stability.options_of(arguments)
    assert "give a pool of 2 seeds or more" in capsys.readouterr().err
