"""The search for counterexamples in a session: its report, its profiles, and what it costs those who do not use it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy.fft
import pytest
import scipy.special
from hypothesis import settings

import lazarus_probe.claims.falsify

# pytester forgets what is imported within it, and these cannot be imported twice.
KEPT = (numpy.fft, scipy.special, lazarus_probe.claims.falsify)

pytest_plugins = ["pytester"]

SUITE = """
from dataclasses import dataclass
import numpy as np
from hypothesis import strategies as st
from lazarus_probe.claims.falsify import Rows, falsify

@dataclass(frozen=True)
class Cell:
    row: int
    def draw(self, count, rng, part):
        return [(self.row, part, number) for number in range(count)]

def measure(items):
    names = [str(item) for item in items]
    scores = [float(row < 300) for row, _, _ in items]
    return Rows(items, scores, names, names, ["right"] * len(items), ["said"] * len(items), len(items))

@claim("everywhere")
def test_c(evidence):
    found = falsify(evidence.claim, measure, st.builds(Cell, st.integers(0, 1000)), seed=evidence.seed, budget=60)
    evidence.record(found.measurement("accuracy", majority=np.zeros(len(found.rows.items))))
"""


@pytest.fixture(autouse=True)
def _profile_as_it_was() -> Iterator[None]:
    before = settings.get_current_profile_name()
    yield
    settings.load_profile(before)


def measurement(run):
    return run["claims"][0]["measurement"]


def test_counterexamples_reach_the_report(project):
    """A counterexample is in run.json with fresh prompts, and the verdict says where the claim fails."""
    project.write(SUITE)
    result = project.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["refuted: accuracy on Cell(row=300) (simplest failing of * searched) 0.00 *"]
    )
    found = measurement(project.reports()[0])
    (counterexample,) = found["counterexamples"]
    assert counterexample["where"] == "Cell(row=300)"
    assert all("confirm" in example["prompt"] for example in counterexample["examples"])
    assert found["details"]["counterexample"] == "@example(Cell(row=300))"


def test_every_run_is_the_same_search(project):
    """By default nothing is kept and two runs find the same in the same order; another seed looks elsewhere."""
    project.write(SUITE)
    for seed in (0, 0, 1):
        project.run(f"--probe-seed={seed}", "--probe-baseline=none")
    first, second, other = map(measurement, project.reports())
    assert first == second
    assert first["details"]["profile"] == "probe-ci"
    assert list(first["details"]["searched"]) != list(other["details"]["searched"])
    assert not (project.pytester.path / ".hypothesis").exists()


def test_a_hunt_remembers(project):
    """`--probe-hunt` keeps what failed in .hypothesis of the rootdir, and the next run tries it first."""
    project.write(SUITE)
    for _ in range(2):
        project.run("--probe-hunt", "--probe-baseline=none")
    first, second = (measurement(run)["details"] for run in project.reports())
    assert first["profile"] == second["profile"] == "probe-hunt"
    assert (project.pytester.path / ".hypothesis" / "examples").is_dir()
    assert next(iter(second["searched"])) == "Cell(row=300)"
    assert next(iter(first["searched"])) != "Cell(row=300)"


def test_hypothesis_own_option_works(project):
    """The profiles can be named to Hypothesis itself, before anything has imported them."""
    project.write(SUITE)
    project.run("-p", "_hypothesis_pytestplugin", "--hypothesis-profile=probe-hunt")
    assert measurement(project.reports()[0])["details"]["profile"] == "probe-hunt"


def test_two_profiles_are_refused(project):
    """A hunt and another profile together are an error of usage, in one line."""
    project.write(SUITE)
    result = project.run("-p", "_hypothesis_pytestplugin", "--probe-hunt", "--hypothesis-profile=default")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --probe-hunt and --hypothesis-profile default each choose a profile: give one"]
    )


def test_hypothesis_is_not_imported_without_need(pytester, monkeypatch):
    """A session that searches for nothing does not pay for Hypothesis."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile("import sys\ndef test_a():\n    assert 'hypothesis' not in sys.modules")
    assert pytester.runpytest_subprocess("-p", "lazarus_probe.plugin").ret == 0
