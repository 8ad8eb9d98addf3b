"""What is on the disk while a run goes on, and what is left of one that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.reports.run import RunError
from lazarus_probe.reports.run_log import read_any
from tests.cases import slow_except

pytest_plugins = ["pytester"]

SUITE = """
import os, signal

@claim("wrong")
@pytest.mark.parametrize("where", range(3))
def test_a_wrong(evidence, where):
    evidence.record(measured(0.5))

@claim("broken")
def test_b_broken(evidence):
    assert 1 == 2

@claim("right")
def test_c_right(evidence):
    evidence.record(measured(0.95, p=0.001))

@claim("last")
def test_d_last(evidence):
    how = os.environ.get("HOW")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "kill all":
        os.kill(int(os.environ["CONTROLLER"]), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    evidence.record(measured(0.95))
"""


@pytest.fixture
def suite(project):
    project.use_stub(
        "import os\nos.environ.setdefault('CONTROLLER', str(os.getpid()))\n"
    )  # workers inherit it
    project.write(SUITE)
    return project


def the_log(project):
    (log,) = (project.pytester.path / "reports").glob("*/run.jsonl")
    return log


def test_the_log_holds_what_the_run_does(suite):
    """Of a run that ends, run.jsonl gives the same claims, families and broken tests as run.json."""
    assert suite.run_apart().ret == 1
    log = the_log(suite)
    from_log, from_run = read_any(log), read_any(log.parent)
    assert from_log.model_dump(exclude={"partial", "seconds"}) == from_run.model_dump(
        exclude={"partial", "seconds"}
    )
    assert from_run.cases == 6
    assert sorted(path.name for path in log.parent.iterdir()) == [
        "index.html",
        "run.json",
        "run.jsonl",
        "summary.md",
    ]


@pytest.mark.parametrize(
    "options",
    slow_except([(), ("-pxdist.plugin", "-n2"), ("--probe-seeds=2",)], ()),
    ids=["alone", "xdist", "seeds"],
)
def test_a_killed_run_keeps_every_verdict(suite, monkeypatch, options, capsys):
    """After kill -9 every claim that was over is in run.jsonl, and page, compare and card say how many there are."""
    monkeypatch.setenv("HOW", "kill all" if "-n2" in options else "kill")
    assert suite.run_apart(*options).ret == -signal.SIGKILL
    folder = the_log(suite).parent
    assert not (folder / "run.json").exists()
    run = read_any(folder)
    ids = [record.claim.id for record in run.claims]
    over = [*["wrong"] * 3, "right"]
    # On two workers the last claim may come before others are over; what the controller was told is there.
    assert sorted(ids) == sorted(over) if "-n2" not in options else set(ids) <= set(over)
    assert run.partial
    assert run.how_partial == f"partial: {len(ids)} of 6 claims"
    monkeypatch.chdir(suite.pytester.path)
    if not ids:
        return
    assert main(["report", "page", "reports"]) == 0
    assert f"Partial: {len(ids)} of 6 claims." in (folder / "index.html").read_text()
    capsys.readouterr()
    assert main(["report", "card", str(folder)]) == 0
    assert f"partial: {len(ids)} of 6 claims" in capsys.readouterr().out
    assert main(["report", "compare", str(folder / "run.jsonl"), str(folder)]) in (0, 3)
    assert f"is partial: {len(ids)} of 6 claims" in capsys.readouterr().out


def test_each_verdict_is_there_before_it_is_shown(suite):
    """A claim's line is in run.jsonl before the next test begins."""
    suite.write(
        SUITE + "\ndef test_z_look():\n    import glob\n    (log,) = glob.glob('reports/*/run.jsonl')\n"
        "    assert len(open(log).readlines()) == 7  # a header and six cases\n"
    )
    suite.run_apart().assert_outcomes(passed=3, failed=4)


def test_a_line_that_was_being_written_is_left_out(suite):
    """What a kill cut off at the end is no verdict; a damaged line before it is named."""
    suite.run_apart()
    log = the_log(suite)
    whole = log.read_bytes()
    (log.parent / "run.json").unlink()
    log.write_bytes(whole + whole.splitlines()[1][:100])
    assert len(read_any(log.parent).claims) == 5
    lines = whole.splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:2], lines[2][:50] + b"\n", *lines[3:]]))
    with pytest.raises(RunError, match=r"run\.jsonl:3 is no part of a run: "):
        read_any(log.parent)
    log.write_bytes(b"")
    with pytest.raises(RunError, match="killed before its first verdict"):
        read_any(log.parent)


def test_a_full_disk_ends_no_session(suite, monkeypatch):
    """Where run.jsonl cannot be written the run goes on, says so once, and ends as an error of usage."""
    suite.write(
        SUITE + "\nfrom lazarus_probe.reports import run_log\n"
        "def no_space(path, line):\n    raise OSError(28, 'No space left on device', str(path))\n"
        "run_log.append_line = no_space\n"
    )
    result = suite.run_apart()
    assert result.ret == 4
    said = [line for line in result.outlines if line.startswith("ERROR: run.jsonl could not be written")]
    assert len(said) == 1
    assert [len(run["claims"]) for run in suite.reports()] == [5]


def test_sessions_that_end_in_one_second_keep_their_folders(suite):
    """Two sessions at once on one report folder leave two runs."""
    arguments = [sys.executable, "-mpytest", "-plazarus_probe.plugin", "-pno:cacheprovider", "-q"]
    while time.time() % 1 > 0.2:  # both begin in the same second, as far as that can be
        time.sleep(0.01)
    runs = [subprocess.Popen(arguments, cwd=suite.pytester.path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait() for run in runs] == [1, 1]
    assert [len(run["claims"]) for run in suite.reports()] == [5, 5]


def test_nothing_tested_is_said(project):
    """Where no claim applies to the model the summary says so loudly, and --probe-strict fails."""
    project.use_stub()
    project.write("""
        @claim("moot")
        @pytest.mark.parametrize("where", range(3))
        def test_moot(evidence, where):
            evidence.require(False, "it has no experts")
    """)
    loud = "NOTHING WAS TESTED ON stub: none of the 3 claims applies to it"
    result = project.run(models=())
    assert result.ret == 0
    assert loud in result.outlines
    folder = max((project.pytester.path / "reports").iterdir())
    assert f"**{loud}**" in (folder / "summary.md").read_text()
    assert loud in (folder / "index.html").read_text()
    assert project.run("--probe-strict", "--probe-update", models=()).ret == 1
    assert project.run("--probe-strict", models=()).ret == 0  # as in the baseline


def test_some_tested_is_not_nothing(project):
    """One claim that applies is enough for the summary to say nothing of it."""
    project.use_stub()
    project.write("""
        @claim("c")
        @pytest.mark.parametrize("where", range(2))
        def test_c(evidence, where):
            evidence.require(where, "it has no experts")
            evidence.record(measured(0.95))
    """)
    result = project.run("--probe-strict", models=())
    assert "NOTHING" not in result.stdout.str()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--probe-report=/proc/nope",),
            "ERROR: --probe-report /proc/nope cannot be written to (*); give another *",
        ),
        (
            ("--probe-update", "--probe-report=here"),
            "ERROR: --probe-update: *here/baselines/organism.json cannot *",
        ),
        (
            ("--probe-save=organism", "--probe-report=here"),
            "ERROR: --probe-save organism: * cannot be written (*)",
        ),
        (("--junitxml=/proc/nope/x.xml",), "ERROR: --junitxml /proc/nope/x.xml: * cannot be written (*)"),
    ],
)
def test_places_are_tried_before_the_work(project, options, line):
    """Where a report, a baseline or junitxml cannot be written the run ends before a claim begins, naming the place."""
    project.use_stub()
    project.write(
        '@claim("c")\ndef test_c(evidence):\n    open("began", "w")\n    evidence.record(measured(0.95))'
    )
    (project.pytester.path / "here").mkdir()
    (project.pytester.path / "here/baselines").touch()
    result = project.run(*options, models=())
    assert result.ret == 4
    result.stderr.fnmatch_lines([line])
    assert not (project.pytester.path / "began").exists()
    assert list(project.pytester.path.glob("**/*.partial")) == []


TAKEN_AWAY = """
import shutil

@claim("c")
@pytest.mark.parametrize("where", range(4))
def test_c(evidence, where):
    if where == 2:
        shutil.rmtree("reports")
    evidence.record(measured(0.95))
"""


def test_a_folder_that_is_taken_away_costs_nothing(project):
    """Where the report folder is removed while a run goes on, all of the run is written anew."""
    project.use_stub()
    project.write(TAKEN_AWAY)
    assert project.run(models=()).ret == 0
    assert len(read_any(the_log(project)).claims) == len(read_any(the_log(project).parent).claims) == 4


def test_what_a_full_disk_kept_out_comes_later(suite):
    """A line that could not be written stands in run.jsonl as soon as there is room, in its order."""
    suite.write(
        SUITE + "\nfrom lazarus_probe.reports import run_log\nappend = run_log.append_line\ntold = []\n"
        "def no_space(path, line):\n    told.append(line)\n    if len(told) in (3, 4):\n"
        "        raise OSError(28, 'No space left on device', str(path))\n    append(path, line)\n"
        "run_log.append_line = no_space\n"
    )
    assert suite.run_apart().ret == 4
    log = the_log(suite)
    assert read_any(log).claims == read_any(log.parent).claims
    assert read_any(log).broken == read_any(log.parent).broken


@pytest.mark.parametrize("name", ["é" * 120, "n" * 253, "\U0001f600" * 60])
def test_a_long_name_costs_nothing(project, name):
    """A model with a name that leaves no room for more in a file's keeps its report and its baseline."""
    project.use_stub()
    project.pytester.makeconftest((project.pytester.path / "conftest.py").read_text().replace("stub", name))
    project.write('@claim("c")\ndef test_c(evidence):\n    evidence.record(measured(0.5))')
    assert project.run("--probe-update", models=()).ret == 1
    assert project.run(models=()).ret == 0  # as in the baseline
    assert [run["claims"][0]["model"]["name"] for run in project.reports()] == [name] * 2


@pytest.mark.parametrize(
    "option", ["--probe-baseline", "--probe-report", "--probe-save", "--probe-activations"]
)
def test_a_name_that_is_too_long_is_refused(project, option):
    """An option with a name that no file system takes is one line."""
    project.use_stub()
    project.write('@claim("c")\ndef test_c(evidence, activations):\n    evidence.record(measured(0.5))')
    result = project.run(f"{option}={'n' * 300}", models=())
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert result.ret == 4


def test_a_link_that_leads_nowhere_is_followed(project):
    """A report folder behind a link is made where the link leads."""
    project.use_stub()
    project.write('@claim("c")\ndef test_c(evidence):\n    evidence.record(measured(0.95))')
    (project.pytester.path / "link").symlink_to(project.pytester.path / "to/be/made")
    assert project.run("--probe-report=link", models=()).ret == 0
    assert len(list((project.pytester.path / "to/be/made").glob("*/run.json"))) == 1


def test_a_home_folder_is_expanded(project, monkeypatch):
    """No shell expands the `~` of `--probe-report=~/runs`: the plugin does."""
    project.use_stub()
    project.write('@claim("c")\ndef test_c(evidence):\n    evidence.record(measured(0.95))')
    monkeypatch.setenv("HOME", str(project.pytester.path / "home"))
    assert project.run("--probe-report=~/runs", models=()).ret == 0
    assert len(list((project.pytester.path / "home/runs").glob("*/run.json"))) == 1


@pytest.mark.parametrize("decides", slow_except([True, False], True))
def test_a_worker_that_died_in_no_claim_is_no_claims(project, decides):
    """Where a process dies in a test that decides no claim there is no run; in one that does, it is a broken claim."""
    project.use_stub()
    marks = '@claim("c")\ndef test_c(evidence):' if decides else "def test_c():"
    project.write(f"import os\n{marks}\n    os._exit(3)\ndef test_d():\n    pass")
    assert project.run_apart("-pxdist.plugin", "-n1").ret == 1
    runs = project.reports()
    assert [broken["test"] for run in runs for broken in run["broken"]] == [
        "test_claims.py::test_c"
    ] * decides
    assert len(runs) == decides


@pytest.mark.slow
def test_a_pipe_that_nobody_reads_holds_nothing_up(project, monkeypatch):
    """A step summary that cannot be written is a problem that is named, and the report is there all the same."""
    project.use_stub()
    project.write('@claim("c")\ndef test_c(evidence):\n    evidence.record(measured(0.95))')
    os.mkfifo(project.pytester.path / "pipe")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.pytester.path / "pipe"))
    result = project.run_apart()
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: $GITHUB_STEP_SUMMARY could not be written: *"])
    assert len(project.reports()) == 1


def test_a_log_of_another_version_says_so(suite):
    """A log that another version of the package wrote is refused by its schema, and not for what else it holds."""
    suite.run_apart()
    log = the_log(suite)
    header, *lines = log.read_text().splitlines(keepends=True)
    for schema, how in ((9, "update lazarus_probe"), (3, "run the hypotheses again")):
        changed = json.loads(header) | {"schema_version": schema, "new": 1}
        log.write_text("".join([json.dumps(changed) + "\n", *lines]))
        with pytest.raises(RunError, match=f"has schema {schema}, this version reads 4: {how}"):
            read_any(log)
