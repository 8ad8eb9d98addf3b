from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

SUITE = """
@claim("right")
def test_right(evidence, rng):
    score = 0.95 + rng.integers(10) / 1000
    evidence.record(measured(score, seed=evidence.seed, details={"drawn": rng.random(3)}))

@claim("wrong")
@pytest.mark.parametrize("where", ["a", "b"])
def test_wrong(evidence, where, layer):
    import numpy as np
    evidence.record(measured(np.float64(0.5), n=np.int64(100)))

@claim("open")
def test_open(evidence):
    evidence.record(measured(0.9))

@claim("moot")
def test_moot(evidence):
    evidence.require(False, "no")
"""


@pytest.fixture
def in_parallel(project):
    """Runs the project on two workers, in processes of their own."""

    def run(*arguments, model=project.model):
        options = ("-p", "lazarus_probe.plugin", "-p", "xdist.plugin", "-n2", f"--probe-model={model}")
        return project.pytester.runpytest_subprocess(*options, *arguments, timeout=120)

    return run


def test_parallel_run_is_the_same_run(project, in_parallel):
    """Two workers give the claims, the outcomes and the exit code of one process."""
    project.write(SUITE)
    alone = project.run()
    parallel = in_parallel()
    assert parallel.parseoutcomes() == alone.parseoutcomes()
    assert parallel.parseoutcomes() == {"passed": 1, "failed": 4, "skipped": 1, "inconclusive": 1}
    assert parallel.ret == alone.ret == 1
    first, second = project.reports()
    assert first["claims"] == second["claims"]
    assert second["partial"] is False
    for name in ("outcomes", "changed", "seed"):
        assert first[name] == second[name]


def test_refusals_reach_the_controller(project, in_parallel):
    """What a worker refuses at collection is one line and exit code 4 there too."""
    project.write("def test_c(evidence): pass")
    result = in_parallel()
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: test_claims.py::test_c[[]tiny[]] asks for `evidence` without *"])
    assert "INTERNALERROR" not in result.stdout.str()
    project.write(SUITE)
    result = in_parallel(model="nowhere")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: *no model named 'nowhere'*"])
