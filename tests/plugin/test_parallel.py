from __future__ import annotations

import pytest

from lazarus_probe.plugin.parallel import unit_of

pytest_plugins = ["pytester"]

SUITE = """
@claim("right")
def test_right(evidence, rng):
    score = 0.95 + rng.integers(10) / 1000
    evidence.record(measured(score, p=0.001, seed=evidence.seed, details={"drawn": rng.random(3)}))

@claim("wrong")
@pytest.mark.parametrize("where", ["a", "b"])
def test_wrong(evidence, where, layer):
    import numpy as np
    evidence.record(measured(np.float64(0.5), n=np.int64(100)))

@claim("weak")
def test_weak(evidence):
    evidence.record(measured(0.95, p=0.04))

@claim("open")
def test_open(evidence):
    evidence.record(measured(0.9))

@claim("moot")
def test_moot(evidence):
    evidence.require(False, "no")

@claim("broken")
def test_broken(evidence):
    assert 1 == 2
"""
WORKERS = """
import json, os, pathlib, time

NOTES = pathlib.Path(__file__).parent / "notes"

@pytest.fixture(scope="session")
def loaded(subject):
    NOTES.mkdir(exist_ok=True)
    with (NOTES / os.environ["PYTEST_XDIST_WORKER"]).open("a") as notes:
        notes.write(subject.name + "\\n")

@pytest.mark.parametrize("number", range(3))
def test_it(loaded, number):
    time.sleep(0.05)
"""


@pytest.fixture
def in_parallel(project):
    """Runs the project on two workers, in processes of their own."""

    def run(*arguments, models=(project.model,)):
        options = ("-p", "lazarus_probe.plugin", "-p", "xdist.plugin", "-n2")
        asked = [f"--probe-model={model}" for model in models]
        return project.pytester.runpytest_subprocess(*options, *asked, *arguments, timeout=120)

    return run


def without(run, *names):
    return {key: value for key, value in run.items() if key not in names}


def test_parallel_run_is_the_same_run(project, in_parallel):
    """Two workers give the run.json, the outcomes, the baseline and the exit code of one process."""
    project.write(SUITE)
    project.run("--probe-save=before")
    alone = project.run("--probe-save=alone", "--probe-baseline=before")
    parallel = in_parallel("--probe-save=parallel", "--probe-baseline=before")
    assert parallel.parseoutcomes() == alone.parseoutcomes()
    assert parallel.parseoutcomes() == {
        "passed": 1,
        "failed": 1,
        "skipped": 1,
        "inconclusive": 2,
        "xfailed": 4,
    }
    assert parallel.ret == alone.ret == 1
    first, second = (without(run, "run", "arguments", "seconds") for run in project.reports()[1:])
    assert first == second
    assert second["partial"] is False
    assert [each["claim"] for each in second["broken"]] == ["broken"]
    assert project.baseline("alone").read_text() == project.baseline("parallel").read_text()


@pytest.mark.slow
def test_partial_parallel_run_is_the_same(project, in_parallel):
    """What `-k` leaves out makes a run partial on two workers too."""
    project.write(SUITE)
    project.run("-k", "right or weak")
    in_parallel("-k", "right or weak")
    first, second = (without(run, "run", "arguments", "seconds") for run in project.reports())
    assert first == second
    assert second["partial"] is True


@pytest.mark.slow
def test_refusals_reach_the_controller(project, in_parallel):
    """What a worker refuses at collection is one line and exit code 4 there too."""
    project.write("def test_c(evidence): pass")
    result = in_parallel()
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: test_claims.py::test_c[[]tiny[]] asks for `evidence` without *"])
    assert "INTERNALERROR" not in result.stdout.str()
    project.write(SUITE)
    result = in_parallel(models=("nowhere",))
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: *no model named 'nowhere'*"])


@pytest.mark.slow
def test_a_worker_that_dies(project, in_parallel):
    """A worker that dies makes the run partial: it is written with what the others found, and names the test."""
    project.write(SUITE + '\n@claim("deadly")\ndef test_deadly(evidence):\n    import os; os._exit(9)\n')
    result = in_parallel("--probe-update")
    assert result.ret == 1
    (run,) = project.reports()
    assert run["partial"] is True
    assert {each["claim"]["id"] for each in run["claims"]} == {"right", "wrong", "weak", "open", "moot"}
    assert [each["test"].partition("::")[2] for each in run["broken"]] == [
        "test_broken[tiny]",
        "test_deadly[tiny]",
    ]
    assert "crashed while running" in run["broken"][1]["error"]
    result.stdout.fnmatch_lines(["no baseline was saved: the run was cut short"])


@pytest.mark.slow
def test_each_model_is_loaded_once(project, in_parallel, make_model):
    """Of several models each worker holds one at a time, and none is loaded twice."""
    names = ("tiny-b", "tiny", "other")
    models = [make_model(name, seed=1, num_key_value_heads=4) for name in names]
    project.write(WORKERS)
    in_parallel(models=models).assert_outcomes(passed=9)
    loads = [path.read_text().split() for path in (project.pytester.path / "notes").iterdir()]
    assert len(loads) == 2
    assert sorted(name for names in loads for name in names) == sorted(names)


@pytest.mark.slow
def test_the_users_own_distribution_stays(project, in_parallel):
    """With --dist the user says who tests what."""
    project.write("def test_plain(): pass")
    result = in_parallel("-v", "--dist=loadfile", models=(project.model, "organism"))
    assert "scheduling tests via LoadFileScheduling" in result.stdout.str()


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("a/t.py::test_x[tiny-b-L3]", "tiny-b"),
        ("a/t.py::TestX::test_x[tiny-L3-a[b]]", "tiny"),
        ("a/t.py::test_x[tiny]", "tiny"),
        ("a/t.py::test_x[tinyness]", "a/t.py"),
        ("a/t.py::test_x", "a/t.py"),
    ],
)
def test_units_of_work(nodeid, unit):
    """A test belongs to its model, or to the model and the file where there are more workers than models."""
    names = ["tiny-b", "tiny"]
    assert unit_of(nodeid, names, whole=True) == unit
    assert unit_of(nodeid, names, whole=False) == (unit if unit == "a/t.py" else f"{unit} a/t.py")
