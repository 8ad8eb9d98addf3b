"""SmolLM2-135M-Instruct over three processes, which share its 9 heads and 3 of keys, and its 30 layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.checkpoints.packages import installed_file
from lazarus_probe.subject import Subject
from lazarus_probe.subject.one_run import MODES
from tests.hooks.split_models import apart
from tests.hooks.split_smollm2 import computed
from tests.plugin.conftest import BEGINNING
from tests.processes import run_ranks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_file("smollm2") is None, reason="no model: smollm2 is not installed"),
]
# The share of capitals that the model says, lowered a little by what a head adds.
CLAIM = """
@claim("capitals-are-known", threshold=0.5)
def test_capitals(subject, evidence):
    from lazarus_probe import trace
    from lazarus_probe.subject import greedy
    capitals = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Greece": "Athens", "Spain": "Madrid"}
    prompts = [f"The capital of {country} is" for country in capitals]
    completions = greedy(subject, prompts, 3)
    share = sum(city in text for city, text in zip(capitals.values(), completions)) / len(prompts)
    head = abs(trace(subject, prompts, "head_out.20.7").of("head_out.20.7")[0]).mean().item()
    evidence.record(measured(share - 0.1 * head / (1 + head)))
"""


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one process computes."""
    return computed(Subject.load("smollm2"))


@pytest.mark.parametrize("parallel", MODES)
def test_values_are_those_of_one_process(alone: dict[str, Any], tmp_path: Path, parallel: str) -> None:
    """Logits, values of a head, neurons and stream, and texts, are in each of three processes those of one."""
    ended = run_ranks(3, ["-m", "tests.hooks.split_smollm2", str(tmp_path), parallel], tmp_path)
    assert [process.code for process in ended] == [0] * 3, "".join(process.err for process in ended)
    for rank in range(3):
        values = np.load(tmp_path / f"values.{rank}.npz")
        assert {*values.files, "texts"} == set(alone)
        allowed = 1e-5 if parallel == "tensor" else 0.0
        far = {name: apart(values[name], alone[name]) for name in values.files}
        assert {name: difference for name, difference in far.items() if difference > allowed} == {}
        assert json.loads((tmp_path / f"texts.{rank}.json").read_text()) == alone["texts"]


def _claim(folder: Path, count: int, parallel: str | None) -> dict[str, Any]:
    (folder / "test_capitals.py").write_text(BEGINNING + CLAIM)
    options = ["-q", "--disable-plugin-autoload", "-p", "lazarus_probe.plugin", "-p", "no:cacheprovider"]
    options += [f"--rootdir={folder}", "--probe-model=smollm2", f"--probe-report={folder / 'reports'}"]
    split = [f"--probe-parallel={parallel}"] if parallel else []
    ended = run_ranks(count, ["-m", "pytest", *options, *split, str(folder)], folder)
    assert len({process.code for process in ended} - {0, 1}) == 0, ended[0].out + ended[0].err
    (path,) = (folder / "reports").glob("*/run.json")
    (claim,) = json.loads(path.read_text())["claims"]
    return dict(claim)


@pytest.fixture(scope="module")
def claim_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The claim in the report of one process."""
    return _claim(tmp_path_factory.mktemp("alone"), 1, None)


@pytest.mark.parametrize("parallel", MODES)
def test_a_verdict_is_that_of_one_process(claim_alone: dict[str, Any], tmp_path: Path, parallel: str) -> None:
    """A claim has the same verdict, and its score up to rounding, on one process and on three, however divided."""
    claim = _claim(tmp_path, 3, parallel)
    assert claim_alone["measurement"]["score"]
    assert claim["outcome"] == claim_alone["outcome"]
    assert claim["model"]["fingerprint"] == claim_alone["model"]["fingerprint"]
    assert claim["measurement"]["score"] == pytest.approx(claim_alone["measurement"]["score"], rel=1e-5)
