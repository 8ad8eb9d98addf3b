"""Claims on a model over processes, split or with its batches dealt: one run, with one report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe import trace
from lazarus_probe.subject import Subject
from tests.cases import slow_except
from tests.plugin.conftest import Project
from tests.processes import ROOT, Ended, run_ranks

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.nested

OF_SUITE = (
    "hypotheses/heads/test_repeated_tokens.py",
    "hypotheses/stream/test_random_tokens.py",
    "hypotheses/stream/test_blocks.py::test_deleted",
)

SUITE = """
    from lazarus_probe import trace

    @claim("heads-are-whole")
    def test_whole(subject, evidence):
        from lazarus_probe.subject import Subject
        site = f"head_out.1.{subject.anatomy.parts[1].heads.num_heads - 1}"
        value = abs(trace(subject, [1, 2, 3], capture=site)[site])
        evidence.record(measured(float((value / (1 + value)).mean().item())))
"""
FAILING = """
    def test_alone(subject):
        from lazarus_probe import trace
        from lazarus_probe.subject.one_run import joined
        assert joined().rank != 1, "this disk is full"
        trace(subject, [1, 2, 3], capture="head_out.0").logits.tolist()
"""


STOPPING = """
    def test_alone(subject):
        import os, signal, time
        from lazarus_probe import trace
        from lazarus_probe.subject.one_run import joined
        if joined().rank == 1:
            {mishap}
        trace(subject, [1, 2, 3], capture=["head_out.0", "head_out.1", "keys.0"]).logits.tolist()
"""


MISHAPS = {
    "is killed": ("os.kill(os.getpid(), signal.SIGKILL)", "process 1 of 2 ended without a word"),
    "sleeps": ("time.sleep(600)", "no process has computed anything for 8 seconds"),
    "is interrupted": ("os.kill(os.getpid(), signal.SIGINT)", "process 1 of 2 was interrupted"),
}


def _run(project: Project, parallel: str = "tensor") -> list[Ended]:
    command = ["-m", "pytest", "-q", "-p", "lazarus_probe.plugin", "-p", "no:cacheprovider"]
    folder = project.pytester.path
    options = [
        "-W",
        "error",
        f"--probe-model={project.model}",
        f"--probe-parallel={parallel}",
        f"--rootdir={folder}",
    ]
    return run_ranks(2, [*command, *options, str(folder)], folder)


@pytest.mark.parametrize("parallel", ["tensor", "pipeline", "data"])
def test_processes_report_once(project: Project, parallel: str) -> None:
    """Two processes measure what one does, and the first alone prints and writes the report."""
    project.write(SUITE)
    first, second = _run(project, parallel)
    assert "heads-are-whole" in first.out, first.out + first.err
    assert "heads-are-whole" not in second.out
    assert "Warning" not in first.out + first.err + second.err, first.out + first.err + second.err
    (run,) = project.reports()
    (claim,) = run["claims"]
    subject = Subject.load(project.model)
    heads = subject.anatomy.parts[1].heads
    assert heads is not None
    site = f"head_out.1.{heads.num_heads - 1}"
    value = abs(trace(subject, [1, 2, 3], capture=site)[site])
    assert claim["measurement"]["score"] == pytest.approx(
        float((value / (1 + value)).mean().item()), rel=1e-5
    )
    assert claim["model"]["fingerprint"] == subject.fingerprint
    assert len(list((project.pytester.path / "reports").iterdir())) == 1


def _verdicts(folder: Path, count: int, parallel: str | None) -> dict[str, tuple[str, float | None]]:
    """By claim, the verdict and score of a suite on the bundled model; one process or several."""
    folder.mkdir()
    split = [f"--probe-parallel={parallel}"] if parallel else []
    options = ["-q", "-p", "no:cacheprovider", "--model=organism", f"--probe-report={folder / 'reports'}"]
    ended = run_ranks(
        count, ["-m", "pytest", *options, *split, *(str(ROOT / name) for name in OF_SUITE)], folder
    )
    assert {process.code for process in ended} == {1}, ended[0].out + ended[0].err  # some claims are refuted
    (path,) = (folder / "reports").glob("*/run.json")
    claims = json.loads(path.read_text())["claims"]
    return {
        claim["claim"]["id"]: (claim["outcome"], (claim["measurement"] or {}).get("score"))
        for claim in claims
    }


@pytest.mark.slow
def test_verdicts_are_those_of_one_process(tmp_path: Path) -> None:
    """A suite has the same verdicts, and scores up to rounding, on one process, two and three, however divided."""
    expected = _verdicts(tmp_path / "one", 1, None)
    assert len(expected) > 8
    for count, parallel in (
        (2, "tensor"),
        (2, "pipeline"),
        (3, "pipeline"),
        (2, "data"),
        (3, "data"),
    ):
        verdicts = _verdicts(tmp_path / f"{parallel}-{count}", count, parallel)
        assert {name: verdict for name, (verdict, _) in verdicts.items()} == {
            name: verdict for name, (verdict, _) in expected.items()
        }
        for name, (_, score) in expected.items():
            if parallel == "data":
                assert verdicts[name][1] == score, "whole batches are dealt, so that they are computed alike"
            assert verdicts[name][1] == (None if score is None else pytest.approx(score, abs=1e-6))


def test_a_test_that_raises_ends_the_run(project: Project) -> None:
    """A test that raises in one process ends the run in both, with its reason and the report of what was over."""
    project.write(SUITE, name="test_a_claims")
    project.write(FAILING, name="test_b_alone")
    first, second = _run(project)
    # mlx gives the first process an error in the exchange that it waits in, or none, and then the watch ends it.
    assert first.code in (1, 2), first.err
    assert second.code == 1, second.err
    assert "process 1 of 2" in second.err
    assert "this disk is full" in second.err
    (run,) = project.reports()
    assert run["partial"]
    assert [claim["claim"]["id"] for claim in run["claims"]] == ["heads-are-whole"]


@pytest.mark.parametrize("mishap", slow_except(MISHAPS, "is killed"))
def test_a_process_that_does_not_come_leaves_a_report(
    project: Project, mishap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed, hangs or is interrupted ends the run, whose report has what was over by then."""
    monkeypatch.setenv("LAZARUS_PATIENCE", "8")
    project.write(SUITE, name="test_a_claims")
    project.write(STOPPING.format(mishap=MISHAPS[mishap][0]), name="test_b_alone")
    first, second = _run(project)
    assert first.code not in (0, None), first.err
    assert second.code not in (0, None), second.err
    assert MISHAPS[mishap][1] in first.err
    (run,) = project.reports()
    assert run["partial"]
    assert [claim["claim"]["id"] for claim in run["claims"]] == ["heads-are-whole"]


def test_one_process_is_an_error_of_usage(project: Project) -> None:
    """Without other processes the option is refused in a line."""
    project.write(SUITE)
    result = project.run("--probe-parallel=tensor")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--probe-parallel tensor*mlx.launch -n 2*"])
