"""Claims about tuned pairs on a pair that is known: the trained organism taken for the base of its early checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lazarus_probe.reports.run import Run
from lazarus_probe.subject import Subject

sys.path.insert(0, str(Path(__file__).parent))
import checkpoints

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The claims about answers, on a model that answers and one that does not yet."""
    return checkpoints.run_hypotheses(
        "hypotheses/tuned_pairs/test_tuned_pair.py",
        "-k",
        "answer and not late",
        "--probe-model=organism-early",
        "--probe-base=organism",
        cwd=ROOT,
        reports=tmp_path_factory.mktemp("reports"),
    )


def outcomes(run: Run) -> dict[str, str]:
    return {record.claim.id: str(record.outcome) for record in run.claims}


@pytest.mark.slow
def test_an_ability_that_is_gone_is_found(run):
    """The early checkpoint answers sums far less surely than its 'base', and capitals only a little less."""
    assert outcomes(run)["tuned-model-answers-less-directly"] == "supported"


@pytest.mark.slow
def test_a_general_loss_is_no_loss_of_words(run):
    """It answers worded questions less often, and symbolic ones nearly as much less: no loss of words."""
    assert outcomes(run)["tuning-costs-worded-answers"] == "inconclusive"
    assert outcomes(run)["tuning-keeps-symbolic-answers"] == "refuted"


@pytest.mark.slow
def test_the_report_names_both_models(run):
    """Model and base stand in the report with their fingerprints."""
    base = Subject.load("organism").fingerprint
    for record in run.claims:
        assert record.model.name == "organism-early"
        assert record.measurement.details["base"]["name"] == "organism"
        assert record.measurement.details["base"]["fingerprint"] == base != record.model.fingerprint
