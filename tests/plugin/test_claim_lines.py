"""`--probe-progress`: one line a claim, whatever its outcome, and an honest guess at the rest."""

from __future__ import annotations

import pytest

from lazarus_probe.claims.library import share_costs
from lazarus_probe.plugin.claim_lines import duration

pytest_plugins = ["pytester"]

SUITE = """
@claim("right")
def test_right(evidence):
    evidence.record(measured(0.95, p=0.01))

@claim("wrong")
@pytest.mark.parametrize("where", [1, 2])
def test_wrong(evidence, where):
    evidence.record(measured(0.5))

@claim("broken")
def test_broken(evidence):
    raise RuntimeError("no such head")

@claim("elsewhere")
def test_elsewhere(evidence):
    evidence.require(False, "has no heads")

def test_no_claim():
    pass
"""


def test_each_claim_has_one_line_with_what_it_came_to(project):
    """Verdicts, what broke and what does not apply: a numbered line each, and pytest counts as ever."""
    project.write(SUITE)
    result = project.run("--probe-progress", "-q", "-o", "console_output_style=classic")
    result.stdout.fnmatch_lines(
        [
            "1 of 5  supported      right 0.95; about * s left",
            "2 of 5  refuted        wrong[[]1] 0.50; about * s left",
            "3 of 5  refuted        wrong[[]2] 0.50; about * s left",
            "4 of 5  broke          broken: RuntimeError: no such head; about * s left",
            "5 of 5  not applicable elsewhere",
        ]
    )
    result.assert_outcomes(passed=2, failed=3, skipped=1)


def test_a_parallel_run_counts_its_tests(project):
    """The terminal's process collects nothing: tests are counted as workers finish them, those of no claim too."""
    project.write(SUITE)
    result = project.run_apart("--probe-progress", "-q", "-pxdist.plugin", "-n1")
    result.stdout.fnmatch_lines(
        [
            "1 of 6  supported      right 0.95; about * left",
            "5 of 6  not applicable elsewhere; about * left",
        ]
    )
    assert "of 0" not in result.stdout.str()


def test_without_the_option_there_are_dots(project):
    """Pytest's output is as it was."""
    project.write(SUITE)
    result = project.run("-q")
    assert "1 of 5" not in result.stdout.str()
    result.stdout.re_match_lines([r"\.FFFs\. .*"])


def test_a_claims_cost_is_shared_by_its_tests():
    """Twenty layers of a claim of 10 s are half a second each, and one never measured costs the mean."""
    costs = share_costs(
        {"a": "layers", "b": "layers", "c": "quick", "d": "new"}, {"layers": 10.0, "quick": 2.0}
    )
    assert costs == {"a": 5.0, "b": 5.0, "c": 2.0, "d": 6.0}
    assert share_costs({"a": "new", "b": "new"}, {}) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (130, "2 min")])
def test_durations_are_round(seconds: float, text: str):
    """Seconds up to a minute and a half, then minutes."""
    assert duration(seconds) == text
