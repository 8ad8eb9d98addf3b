"""Every hypothesis of the project on tiny random models of the architectures that the claims are about.

A random model knows nothing: each claim must reach a verdict or give a reason why it does not apply, no test may fail
and no claim may be supported. As for a user, pytest runs in a separate process, with checkpoints on disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.reports.run import Run

sys.path.insert(0, str(Path(__file__).parent))
import checkpoints

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# The architectures of the published numbers: gpt-oss-20b, gemma-3-4b, OLMoE-1B-7B, granite-3.1-2b, Llama-3.2-1B and
# TinyLlama; and Qwen3, for which nothing was published.
ARCHITECTURES = ("gpt_oss", "gemma3", "olmoe", "granite", "llama", "qwen3")
MIXTURES = ("gpt_oss", "olmoe")
# Those with a published claim about a tuned pair.
PAIRS = ("gemma3", "granite", "llama")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run of all hypotheses on all the models, each pair with a base of other weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    models = [checkpoints.save(name, folder / name) for name in ARCHITECTURES]
    bases = [checkpoints.save(name, folder / f"{name}-base", seed=1) for name in PAIRS]
    options = [f"--probe-model={path}" for path in models] + [f"--probe-base={path}" for path in bases]
    return checkpoints.run_hypotheses("hypotheses", *options, cwd=ROOT, reports=folder / "reports")


def test_nothing_breaks(run):
    """No test raises, on any architecture, and the run is whole."""
    assert run.broken == []
    assert not run.partial


def test_every_claim_is_decided_on_every_architecture(run):
    """Each pre-registered claim has a line for each model, one for each layer or case that it declares."""
    declared = set(declared_claims())
    for name in ARCHITECTURES:
        records = [record for record in run.claims if record.model.name == name]
        assert {record.claim.id for record in records} == declared, name
        for record in records:
            cases = [case for case in records if case.claim.id == record.claim.id]
            assert len(cases) == record.claim.count(checkpoints.LAYERS), f"{record.claim.id} on {name}"


def test_every_verdict_has_its_reason(run):
    """What does not apply says why, what applies has a number with controls."""
    for record in run.claims:
        assert record.reason
        assert (record.measurement is None) == (record.outcome is Outcome.NOT_APPLICABLE), record.sentence


def test_no_claim_is_supported(run):
    """A random model supports no claim, by its own test or after its family's correction."""
    wrong = [record.sentence for record in run.claims if Outcome.SUPPORTED in (record.outcome, record.alone)]
    assert wrong == []


def test_needs_decide_what_applies(run):
    """Claims about mixtures run on the mixtures alone, those about tuned pairs where a base was given."""
    for record in run.claims:
        applies = record.outcome is not Outcome.NOT_APPLICABLE
        if "moe" in record.claim.needs:
            assert applies == (record.model.name in MIXTURES), record.sentence
        if "tuned pair" in record.claim.needs:
            assert applies == (record.model.name in PAIRS), record.sentence
        if "chat template" in record.claim.needs:
            assert applies, record.sentence


def test_the_base_is_named(run):
    """A verdict on a tuned pair names both models and the base's fingerprint."""
    paired = [record for record in run.claims if record.measurement and "tuned pair" in record.claim.needs]
    assert {record.model.name for record in paired} == set(PAIRS)
    for record in paired:
        base = record.measurement.details["base"]
        assert base["name"] == f"{record.model.name}-base"
        assert any(base["fingerprint"][:12] in required for required in record.requirements)
