"""Claims that only apply to models that answer, on architectures for which no small trained model exists here.

The hypotheses are copied next to a conftest.py that accepts most answers as right, whatever the completion. So the
claims' preconditions hold for a random model, and their ablations, patches and readings run on its architecture. Their
verdicts mean nothing; the test is that they reach one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.reports.run import Run

sys.path.insert(0, str(Path(__file__).parent))
import checkpoints

ROOT = Path(__file__).parents[2]
# A mixture of experts with windows and sinks, and a model with post-norms: those that differ most from a Llama.
ARCHITECTURES = ("gpt_oss", "gemma3")
LENIENT = """
import zlib

from lazarus_probe.tasks import arithmetic

def lenient(text, expected, question=""):
    return zlib.crc32(f"{text}{expected}".encode()) % 40 != 0


arithmetic.is_answer = arithmetic.answers_at_once = lenient
"""
FILES = ("arithmetic/test_patching.py", "arithmetic/test_difficulty_gate.py")  # on every change
ALL_FILES = (
    "arithmetic/test_difficulty_gate.py",
    "arithmetic/test_patching.py",
    "arithmetic/test_components.py",
    "arithmetic/test_lens_answers.py",
    "arithmetic/test_commutativity.py",
    "arithmetic/test_injection.py",
    "arithmetic/test_suffix.py",
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((ARCHITECTURES[:1], FILES), marks=pytest.mark.nested),
        pytest.param((ARCHITECTURES, ALL_FILES), marks=pytest.mark.slow),
    ],
    ids=["few", "all"],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The hypotheses about answers, on models that are taken to answer."""
    architectures, names = request.param
    folder = tmp_path_factory.mktemp("answering")
    shutil.copytree(ROOT / "hypotheses", folder / "hypotheses")
    (folder / "conftest.py").write_text(LENIENT)
    models = [checkpoints.save(name, folder / name) for name in architectures]
    files = [f"hypotheses/{name}" for name in names]
    options = ["--import-mode=importlib", *(f"--probe-model={path}" for path in models)]
    return checkpoints.run_hypotheses(*files, *options, cwd=folder, reports=folder / "reports")


def test_nothing_breaks(run):
    """No ablation, patch or reading raises on these architectures."""
    assert run.broken == []


def test_most_claims_are_measured(run):
    """With the precondition lifted, most of the claims are measured on each architecture."""
    for name in {record.model.name for record in run.claims}:
        records = [record for record in run.claims if record.model.name == name]
        measured = {record.claim.id for record in records if record.outcome is not Outcome.NOT_APPLICABLE}
        assert "patching-transfers-answer" in measured
        assert len(measured) > len({record.claim.id for record in records}) / 2


def test_the_gate_is_measured_on_a_mixture(run):
    """The claim published for a mixture of experts can be tested on one."""
    records = [record for record in run.claims if record.claim.id == "difficulty-gate"]
    gates = {record.parameters: record for record in records if record.model.name == "gpt_oss"}
    assert set(gates) == {"mean", "resample", "zero"}
    assert all(record.measurement for record in gates.values())
