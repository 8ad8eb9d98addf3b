"""Runs of scores alone: no control model is run, and no verdict is compared or kept."""

from __future__ import annotations

import json

import pytest

pytest_plugins = ["pytester"]

CLAIMS = """
import numpy as np
from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.statistics.rates import rate

RUN = []

@claim("high", threshold=0.7, controls=("untrained",))
def test_high(evidence):
    def measure(controls, left_out):
        return rate("accuracy", np.ones(30), range(30), controls, unmeasured=left_out)

    def untrained():
        RUN.append("untrained")
        return np.zeros((3, 30))

    evidence.record(as_needed(evidence.settles, measure, {"untrained": untrained}))

def test_controls():
    assert RUN == WANTED
"""


def test_scores_are_as_with_controls(project):
    """The score is the same, no control is run, and the claim is inconclusive, whatever a baseline says."""
    records = []
    for options, run in (
        ((), ["untrained"]),
        (("--probe-update",), ["untrained"]),
        (("--probe-scores-only",), []),
    ):
        project.write(f"WANTED = {run}\n{CLAIMS}")
        result = project.run(*options)
        assert result.ret == 0
        records.append(project.reports()[-1]["claims"][0])
    with_controls, _, alone = records
    assert (with_controls["outcome"], alone["outcome"]) == ("supported", "inconclusive")
    assert alone["measurement"]["unmeasured"] == ["untrained"]
    for number in ("score", "low", "high", "n", "group_scores"):
        assert alone["measurement"][number] == with_controls["measurement"][number]
    assert json.loads(project.baseline().read_text())["claims"]["high"]["outcome"] == "supported"


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--probe-update", "--probe-update"),
        ("--probe-save=kept", "--probe-save"),
        ("--probe-baseline=kept", "--probe-baseline kept"),
        ("--probe-seeds=2", "--probe-seeds"),
    ],
)
def test_what_is_about_verdicts_is_refused(project, option, named):
    """A baseline, and seeds that are pooled to one verdict, have nothing to do with scores alone."""
    project.write("def test_plain(): pass")
    result = project.run("--probe-scores-only", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --probe-scores-only gives no verdicts, which {named} is about: *"])
