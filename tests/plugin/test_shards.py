from __future__ import annotations

import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazarus_probe.claims import library
from lazarus_probe.cli.lazarus import main
from lazarus_probe.plugin.shards import measured_shares, shard_by_file

pytest_plugins = ["pytester"]

# Families reach over the files, and one of them decides otherwise than its claims do alone.
FILES = {
    "test_right": """
@claim("right")
def test_right(evidence, rng):
    score = 0.95 + rng.integers(10) / 1000
    evidence.record(measured(score, p=0.001, seed=evidence.seed, details={"drawn": rng.random(3)}))

@claim("weak")
def test_weak(evidence):
    evidence.record(measured(0.95, p=0.04))
""",
    "test_wrong": """
@claim("wrong", family="other")
@pytest.mark.parametrize("where", ["a", "b"])
def test_wrong(evidence, where, layer):
    evidence.record(measured(0.5))

@claim("open")
def test_open(evidence):
    evidence.record(measured(0.9))
""",
    "test_moot": """
@claim("moot")
def test_moot(evidence):
    evidence.require(False, "no")

@claim("weaker")
def test_weaker(evidence):
    evidence.record(measured(0.95, p=0.045))
""",
}
BROKEN = {
    "test_broken": """
@claim("broken")
def test_broken(evidence):
    assert 1 == 2

def test_plain():
    pass
"""
}
PLAIN = {"test_plain": "def test_plain():\n    assert 1 == 2\n"}


@pytest.fixture
def several(project):
    """A project of several files; in a folder of its own for each run."""

    def write(files=FILES):
        for name, text in files.items():
            project.write(text, name)
        return project

    return write


def shards(project, of, *arguments, folder="parts"):
    """Run all shards, each to a folder of its own; returns their exit codes."""
    return [
        int(project.run(f"--probe-shard={index}/{of}", f"--probe-report={folder}/{index}", *arguments).ret)
        for index in range(1, of + 1)
    ]


def merge(project, *arguments, folder="parts"):
    """Merge what lies in a folder, as a command run in the project's would; returns the exit code."""
    root = project.pytester.path
    return main(["report", "merge", str(root / folder), f"--reports={root / 'reports'}", *arguments])


def same(run):
    """What of a run must not depend on how it came about."""
    return {name: value for name, value in run.items() if name not in ("run", "arguments", "seconds")}


def folder_of(project, index):
    """The folder of a whole or merged run, in the order in which they were written."""
    runs = (project.pytester.path / "reports").glob("*/run.json")
    return sorted(runs, key=lambda path: path.stat().st_mtime_ns)[index].parent


def page(project, index):
    """A run's page without its name, its command, when it began and how long it took."""
    folder = folder_of(project, index)
    text = (
        (folder / "index.html")
        .read_text()
        .replace(json.loads((folder / "run.json").read_text())["run"], "RUN")
    )
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", text)
    text = re.sub(r" · \d+ s · ", " · ", text)
    text = re.sub(r'<tr><th scope="row">took</th><td>.*?</td></tr>', "", text)
    return re.sub(r'<pre class="command">.*?</pre>', "", text)


@pytest.mark.parametrize(
    ("files", "of", "code"),
    [
        (FILES, 3, 1),
        ({**FILES, **BROKEN}, 2, 1),
        ({"test_right": FILES["test_right"]}, 4, 0),
        (PLAIN | FILES, 1, 1),
    ],
)
def test_merged_shards_are_the_whole_run(several, files, of, code):
    """Records, families, verdicts, counts, exit code and page are those of the run that one machine made."""
    project = several(files)
    whole = project.run()
    shards(project, of)
    assert merge(project) == whole.ret == code
    first, second = project.reports()
    assert same(first) == same(second)
    assert second["partial"] is False
    assert second["shard"] is None
    assert page(project, 0) == page(project, 1)
    assert any("--probe-report=" in argument for argument in second["arguments"])
    assert not any("--probe-shard" in argument for argument in second["arguments"])


def test_baselines_are_compared_at_the_merge(several, capsys):
    """A shard compares and keeps nothing; the merge calls changed what the whole run calls changed, and keeps it."""
    project = several()
    project.run("--probe-update")
    kept = project.baseline().read_text()
    changed = {name: text.replace("0.95 +", "0.2 +") for name, text in FILES.items()}
    several(changed)
    whole = project.run()
    shards(project, 3)
    assert project.baseline().read_text() == kept
    assert merge(project, "--update") == whole.ret == 1
    run, again = project.reports()[1:]
    assert same(run) == same(again)
    assert again["changed"] == ["tiny: right"]
    assert "1 lost" in capsys.readouterr().out
    updated = json.loads(project.baseline().read_text())["claims"]
    assert updated["right"]["outcome"] == "refuted"
    project.run("--probe-update")
    assert json.loads(project.baseline().read_text())["claims"] == updated


@pytest.mark.parametrize(
    "selection", [("-k", "right or weak or open"), ("--probe-strict",), ("--probe-seeds=2",)]
)
def test_other_options_hold_for_all_shards(several, selection):
    """What -k leaves out makes the merged run partial as it makes the whole one; pooled seeds are pooled."""
    project = several()
    whole = project.run(*selection)
    shards(project, 2, *selection)
    strict = ["--strict"] if "--probe-strict" in selection else []
    assert merge(project, *strict) == whole.ret
    first, second = project.reports()
    assert same(first) == same(second)
    assert second["partial"] is (selection[0] == "-k")


@pytest.mark.slow
def test_shards_run_in_parallel_too(several):
    """A shard whose tests workers share is the same shard, an empty one too."""
    project = several()
    whole = project.run()
    for index in range(1, 5):
        project.pytester.runpytest_subprocess(
            *("-plazarus_probe.plugin", "-pxdist.plugin", "-n2", f"--probe-model={project.model}"),
            *(f"--probe-shard={index}/4", f"--probe-report=parts/{index}"),
            timeout=120,
        )
    assert merge(project) == whole.ret
    first, second = project.reports()
    assert same(first) == same(second)


def test_a_shard_says_what_it_is(several):
    """Its run is partial and names the shard, in the terminal and in each of its files; one shard is no comparison."""
    project = several()
    result = project.run("--probe-shard=2/3")
    (run,) = project.reports()
    shard = run["shard"]
    assert (shard["index"], shard["of"], shard["cut_short"], shard["left_out"]) == (2, 3, False, False)
    assert run["partial"] is True
    assert run["cases"] == 9
    words = f"partial: shard 2/3, {len(run['claims'])} of 9 claims"
    (folder,) = (project.pytester.path / "reports").glob("*-tiny")
    assert words.capitalize() in (folder / "summary.md").read_text()
    assert words.capitalize() in (folder / "index.html").read_text()
    result.stdout.fnmatch_lines(
        ["shard 2/3: * of 9 claims; verdicts are final once `lazarus report merge RUNS` has *"]
    )
    assert "were tested; the others count" not in result.stdout.str()


def test_a_shard_is_not_compared(several, capsys):
    """Claims of other shards are not called gone: a comparison of a shard is refused, and so is its page's."""
    project = several()
    project.run("--probe-save=v1")
    project.run("--probe-shard=2/3", "--probe-report=parts")
    reports = f"--reports={project.pytester.path / 'reports'}"
    for command in (
        ["compare", "v1", str(project.pytester.path / "parts")],
        ["page", "--baseline=v1", "parts"],
    ):
        assert main(["report", *command, reports]) == 2
    assert "is shard 2/3 of a run" in capsys.readouterr().err


def test_an_empty_shard_is_a_run_that_says_so(several):
    """With more shards than files some are empty: they exit with 0 and leave a run, and the merge needs them."""
    project = several({"test_right": FILES["test_right"]})
    result = project.run("--probe-shard=2/2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["shard 2/2 is empty: there are fewer files of tests than shards, *"])
    (run,) = project.reports()
    assert run["claims"] == []
    assert run["shard"]["tests"] == 0
    assert project.run("--probe-shard=1/2", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--probe-shard=0/5",),
            "--probe-shard 0/5: give I/N, the I-th of N shards with I from 1 to N, as in 2/5",
        ),
        (("--probe-shard=6/5",), "--probe-shard 6/5: give I/N, *"),
        (("--probe-shard=a/b",), "--probe-shard a/b: give I/N, *"),
        (("--probe-shard=-1/5",), "--probe-shard -1/5: give I/N, *"),
        (("--probe-shard=2",), "--probe-shard 2: give I/N, *"),
        (
            ("--probe-shard=1/2", "--probe-update"),
            "--probe-update with --probe-shard 1/2: *merge RUNS --update`",
        ),
        (
            ("--probe-shard=1/2", "--probe-save=x"),
            "--probe-save with --probe-shard 1/2: *merge RUNS --save NAME`",
        ),
        (("--probe-shard=1/2", "--probe-baseline=x"), "--probe-baseline with *merge RUNS --baseline`"),
    ],
)
def test_what_no_shard_can_do_is_refused(several, arguments, message):
    """A shard that there is not, and what needs all of them, end the run in one line before anything is tested."""
    result = several().run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def edited(project, index, **changes):
    """Change fields of a shard's run.json; a pair of names joined by `__` is a field of a field."""
    (file,) = (project.pytester.path / "parts" / str(index)).glob("*/run.json")
    run = json.loads(file.read_text())
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        (run[outer] if inner else run)[inner or outer] = value
    file.write_text(json.dumps(run))


def test_shards_of_other_runs_are_refused(several, capsys):
    """A shard that is missing, doubled, of another run or not a shard is named, with what would be right."""
    project = several()
    root = project.pytester.path
    shards(project, 3)
    refused = [
        (
            {"seed": 1, "seeds": [1]},
            "was measured with seed 1, *was measured with seed 0: run both with the same seeds",
        ),
        ({"shard__of": 4}, "is one of 4 shards, *is one of 3 shards: give the shards of one run"),
        ({"shard__models": ["other"]}, "is of other, *is of tiny: run both on the same models"),
        ({"shard__claims": "0"}, "has other declarations of claims (0) than *: run both on the same files"),
        ({"shard__plan": "0"}, "has another selection of tests (0) than *: run both on the same files"),
        ({"shard__cut_short": True}, "was cut short, *: run it again, or give --partial"),
    ]
    shutil.copytree(root / "parts", root / "kept")
    for changes, words in refused:
        edited(project, 2, **changes)
        assert merge(project) == 2
        error = capsys.readouterr().err
        first, _, second = words.partition("*")
        assert error.count("\n") == 1
        assert "(shard 2/" in error
        assert first in error
        assert second in error
        shutil.rmtree(root / "parts")
        shutil.copytree(root / "kept", root / "parts")
    (file,) = (root / "parts/2").glob("*/run.json")
    packages = json.loads(file.read_text())["environment"]["packages"]
    edited(project, 2, environment__packages={**packages, "lazarus_probe": "0.0.1"})
    assert merge(project) == 2
    assert "(shard 2/3) was measured by lazarus_probe 0.0.1, " in capsys.readouterr().err
    edited(project, 2, environment__packages={**packages, "mlx": "0.0.1"})
    assert merge(project) == 1
    assert "mlx differs between shards: " in capsys.readouterr().out


def test_missing_doubled_and_whole_runs_are_named(several, capsys):
    """All shards must be there, each once; what is no shard, or lost its log, is named."""
    project = several()
    root = project.pytester.path
    shards(project, 3)
    shutil.copytree(root / "parts", root / "twice")
    shutil.copytree(root / "parts/2", root / "twice/2b")
    assert merge(project, folder="twice") == 2
    assert "shard 2/3 is given twice, as " in capsys.readouterr().err
    shutil.rmtree(root / "parts/2")
    assert merge(project) == 2
    assert "missing: shard 2/3; run `pytest --probe-shard 2/3`, or give --partial" in capsys.readouterr().err
    assert merge(project, "--partial") in (0, 1)
    assert "merged 2 of 3 shards: " in capsys.readouterr().out
    assert project.reports()[-1]["partial"] is True
    project.run()
    whole = folder_of(project, -1)
    assert merge(project, folder=str(whole.relative_to(root))) == 2
    assert "is a whole run, and no shard of one" in capsys.readouterr().err
    (log,) = (root / "parts/1").glob("*/run.jsonl")
    log.unlink()
    assert merge(project, folder=str(log.parent.relative_to(root))) == 2
    assert "holds no run.jsonl, which a merge reads" in capsys.readouterr().err
    assert merge(project, folder="nowhere") == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_killed_shard_is_merged_as_far_as_it_went(several, capsys):
    """A shard of which run.jsonl alone is left is cut short: refused, and with --partial taken as far as it goes."""
    project = several()
    shards(project, 3)
    (file,) = (project.pytester.path / "parts/1").glob("*/run.json")
    known = len(json.loads(file.read_text())["claims"])
    file.unlink()
    assert merge(project) == 2
    assert f"(shard 1/3) was cut short, after {known} verdicts: run it again, " in capsys.readouterr().err
    merge(project, "--partial")
    assert len(project.reports()[-1]["claims"]) == 9
    assert project.reports()[-1]["partial"] is True
    assert merge(project, "--partial", "--update") == 2
    assert "was cut short, and no baseline is made of it" in capsys.readouterr().err


LOADS = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 50)), min_size=1, max_size=30)


@given(LOADS, st.integers(1, 12))
def test_every_file_is_in_one_shard(costs, of):
    """All shards together are all files; none has more than a fair share and one file, and names decide all ties."""
    loads = {f"test_{number}.py": cost for number, cost in enumerate(costs)}
    turns = shard_by_file(loads, of)
    assert turns.keys() == loads.keys()
    assert set(turns.values()) <= set(range(1, of + 1))
    assert turns == shard_by_file(dict(reversed(loads.items())), of)
    sums = [
        sum(loads[file][0] for file, shard in turns.items() if shard == index) for index in range(1, of + 1)
    ]
    largest = max(cost for cost, _ in loads.values())
    assert max(sums) <= sum(sums) / of + largest + 1e-6
    assert len(set(turns.values())) == min(of, len(loads))


def test_files_without_costs_are_balanced_by_their_tests():
    """Where no time is known, the number of tests is what is shared evenly."""
    loads = {"a": (0.0, 6), "b": (0.0, 3), "c": (0.0, 2), "d": (0.0, 1)}
    assert shard_by_file(loads, 2) == {"a": 1, "b": 2, "c": 2, "d": 2}


def test_known_times_are_what_is_shared(monkeypatch):
    """A claim that was measured weighs its time, shared by its tests; another one as much as those on average."""
    monkeypatch.setattr(library, "measured_costs", lambda: {"slow": 90.0, "quick": 10.0})
    claims = {"a": "slow", "b": "slow", "c": "quick", "d": "new"}
    assert measured_shares(claims) == {"a": 45.0, "b": 45.0, "c": 10.0, "d": 50.0}
    assert measured_shares({"d": "new"}) == {}
