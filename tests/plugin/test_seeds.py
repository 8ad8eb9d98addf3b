"""`--probe-seeds`: a claim's test once a seed, one verdict on the pool."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lazarus_probe.claims.library import declared_claims
from lazarus_probe.reports.run import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "stability"))
from stability import pooled_records

pytest_plugins = ["pytester"]
HYPOTHESES = Path(__file__).parents[2] / "hypotheses"

# What a seed measures is told by the order in which the seeds come: the list is of their scores.
DRAWS = """
import os

SCORES = [float(score) for score in os.environ["SCORES"].split()]
TURN = iter(range(10**6))

@claim("c")
def test_c(evidence):
    evidence.record(measured(SCORES[next(TURN) % len(SCORES)], p=0.001))
"""


@pytest.fixture
def scored(project, monkeypatch):
    """Runs one claim whose seeds measure these scores, and returns the result and its record."""

    def run(scores, *arguments):
        monkeypatch.setenv("SCORES", " ".join(map(str, scores)))
        project.write(DRAWS)
        result = project.run(f"--probe-seeds={len(scores)}", *arguments)
        return result, project.reports()[-1]["claims"][0]

    return run


def test_seeds_are_pooled_and_judged_once(scored):
    """Five seeds are one passed test and one record, which has the outcome of each seed alone."""
    result, record = scored([0.95, 0.95, 0.5, 0.95, 0.95], "-vv", "--probe-baseline=none")
    result.stdout.fnmatch_lines(["*::test_c[[]tiny[]] FAILED*"])
    found = record["measurement"]
    assert found["score"] == pytest.approx(0.86)
    assert (found["low"], found["high"]) == pytest.approx((0.84, 0.88))
    assert (found["n"], found["groups"], found["p"]) == (500, 20, pytest.approx(0.002))
    assert [each["seed"] for each in record["seeds"]] == [0, 1, 2, 3, 4]
    assert [each["outcome"] for each in record["seeds"]] == [
        *["supported"] * 2,
        "refuted",
        *["supported"] * 2,
    ]
    assert record["outcome"] == "refuted"
    result.assert_outcomes(failed=1)


def test_stability_is_shown(scored, project):
    """The terminal, the summary, the page and junitxml show with how many seeds alone the verdict is the same."""
    result, record = scored([0.96, 0.96, 0.91, 0.96, 0.96], "--junitxml=out.xml")
    assert result.ret == 0
    assert record["outcome"] == "supported"
    result.stdout.fnmatch_lines(["claim * stable in", "c * tiny * supported * 0.95 * 4 of 5"])
    (folder,) = (project.pytester.path / "reports").glob("*-tiny")
    assert "seeds 0, 1, 2, 3, 4 pooled, device" in (folder / "summary.md").read_text().replace(
        "Seeds", "seeds"
    )
    assert "stable in 4 of 5 seeds (inconclusive in 1)" in (folder / "summary.md").read_text()
    page = (folder / "index.html").read_text()
    assert "4 of 5 seeds" in page
    assert "seed 2 alone" in page
    (case,) = ElementTree.parse(project.pytester.path / "out.xml").iter("testcase")
    properties = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert properties["seeds"] == "0,1,2,3,4"
    assert properties["stability"] == "stable in 4 of 5 seeds (inconclusive in 1)"


def test_one_seed_is_as_ever(project):
    """One seed, given either way, has no pool in its record, and the same numbers."""
    body = """
        @claim("c")
        def test_c(evidence, rng):
            evidence.record(measured(0.95 + rng.integers(10) / 1000, details={"seed": evidence.seed}))
    """
    project.write(body)
    for option in ("--probe-seed=0", "--probe-seeds=1"):
        project.run(option)
    first, second = (run["claims"][0] for run in project.reports())
    assert first == second
    assert first["seeds"] == []


def test_every_seed_has_its_own_draws(project):
    """Each seed draws as a run with that seed alone does, with its own generator, evidence and untrained model."""
    project.write("""
        @claim("c")
        def test_c(evidence, rng, twin):
            drawn = [int(rng.integers(10**9)), evidence.seed, twin.fingerprint]
            evidence.record(measured(0.95, details={"drawn": drawn}))
    """)
    alone = {}
    for seed in (0, 3):
        project.run(f"--probe-seed={seed}", "--probe-baseline=none")
        alone[f"seed {seed}"] = project.reports()[-1]["claims"][0]["measurement"]["details"]["drawn"]
    project.run("--probe-seeds=3,0")
    run = project.reports()[-1]
    assert run["seeds"] == [0, 3]
    assert run["claims"][0]["measurement"]["details"]["drawn"] == alone
    assert alone["seed 0"][2] != alone["seed 3"][2]


def test_two_seeds_share_no_training_run(project):
    """The runs of a training claim begin elsewhere for every seed, further apart than a claim has runs."""
    project.write(f"""
        from importlib.util import module_from_spec, spec_from_file_location

        spec = spec_from_file_location("claims_conftest", {str(HYPOTHESES / "conftest.py")!r})
        claims_conftest = module_from_spec(spec)
        spec.loader.exec_module(claims_conftest)
        first_run = claims_conftest.first_run

        @claim("c")
        def test_c(evidence, first_run):
            evidence.record(measured(0.95, details={{"first": first_run}}))
    """)
    project.run("--probe-seeds=0,1,7")
    first = project.reports()[-1]["claims"][0]["measurement"]["details"]["first"]
    most = max(int(claim.parameters.get("runs", 0)) for claim in declared_claims().values())
    assert first["seed 0"] == 0
    assert first["seed 1"] >= most > 0
    assert first["seed 7"] == 7 * first["seed 1"]


def test_what_belongs_to_a_test_is_set_up_anew(project):
    """Fixtures of a test, the user's and pytest's own, are new for every seed; those of a module are not."""
    project.write("""
        COUNT = {"module": 0, "up": 0, "down": 0}
        FOLDERS = set()

        @pytest.fixture(scope="module")
        def shared():
            COUNT["module"] += 1

        @pytest.fixture
        def own(shared, tmp_path, monkeypatch):
            monkeypatch.setenv("LAZARUS_TEST", "x")
            COUNT["up"] += 1
            yield
            COUNT["down"] += 1

        @claim("c")
        def test_c(evidence, own, tmp_path, capsys, caplog):
            FOLDERS.add(tmp_path)
            assert list(tmp_path.iterdir()) == []
            (tmp_path / "x").touch()
            print("said")
            assert capsys.readouterr().out == "said\\n"
            evidence.record(measured(0.95))

        def test_count():
            assert COUNT == {"module": 1, "up": 3, "down": 3}
            assert len(FOLDERS) == 3
    """)
    project.run("--probe-seeds=3").assert_outcomes(passed=2)


APPLIES = """
import os

MOOT = [letter == "n" for letter in os.environ["APPLIES"]]
TURN = iter(range(10**6))

@pytest.fixture
def known(evidence):
    turn = next(TURN)
    evidence.require(not (MOOT[turn] and WHERE == "fixture"), f"answers 0.{turn}; 0.9 needed")
    return turn

@claim("c")
def test_c(evidence, known):
    evidence.require(not MOOT[known], f"answers 0.{known}; 0.9 needed")
    evidence.record(measured(0.95))
"""


@pytest.mark.parametrize("where", ["fixture", "body"])
@pytest.mark.parametrize(
    ("applies", "outcome"),
    [
        ("nyy", "supported"),
        ("yny", "supported"),
        ("yyn", "supported"),
        ("ny", "supported"),
        ("nny", "not applicable"),
        ("ynn", "not applicable"),
        ("nnn", "not applicable"),
    ],
)
def test_a_claim_applies_unless_most_seeds_say_no(project, monkeypatch, where, applies, outcome):
    """Where more than half of the seeds find a claim not applicable it is, and the record says which did."""
    monkeypatch.setenv("APPLIES", applies)
    project.write(f"WHERE = {where!r}\n{APPLIES}")
    result = project.run(f"--probe-seeds={len(applies)}")
    result.assert_outcomes(**{"passed" if outcome == "supported" else "skipped": 1})
    (record,) = project.reports()[-1]["claims"]
    assert record["outcome"] == outcome
    assert [each["outcome"] == "not applicable" for each in record["seeds"]] == [
        each == "n" for each in applies
    ]
    if applies == "ynn":
        assert record["reason"] == (
            "with 2 of 3 seeds: answers 0.1; 0.9 needed (seed 1); answers 0.2; 0.9 needed (seed 2)"
        )


@pytest.mark.parametrize("where", ["body", "fixture"])
def test_a_seed_that_breaks_is_named(project, where):
    """What breaks with one seed ends the test as broken, names that seed, and leaves the next test alone."""
    project.write(f"""
        TURN = iter(range(10))

        @pytest.fixture
        def own(evidence):
            turn = next(TURN)
            assert not (turn == 1 and {where!r} == "fixture")
            return turn

        @claim("c")
        def test_c(evidence, own):
            assert own != 1
            evidence.record(measured(0.95))

        @claim("d")
        def test_d(evidence):
            evidence.record(measured(0.95))
    """)
    result = project.run("--probe-seeds=0,4,7")
    result.assert_outcomes(failed=1, passed=1)
    run = project.reports()[-1]
    (broken,) = run["broken"]
    assert broken["error"].startswith("with seed 4: ")
    result.stdout.fnmatch_lines(["*- seeds -*", "it broke with seed 4 of 0, 4, 7"])
    assert [record["claim"]["id"] for record in run["claims"]] == ["d"]


def test_a_control_that_not_every_seed_has_is_pooled_over_those_that_do(project):
    """What a claim does not declare, for not every draw allows it, is held against the pool all the same."""
    project.write("""
        TURN = iter(range(10))

        @claim("c")
        def test_c(evidence):
            turn = next(TURN)
            more = (Control("bag", turn / 10, 0.9 - turn / 10, 0.6, 0.9),) if turn else ()
            evidence.record(measured(0.95, controls=(Control("majority", 0.4, 0.5, 0.4, 0.6), *more)))
    """)
    project.run("--probe-seeds=3")
    (record,) = project.reports()[-1]["claims"]
    assert record["outcome"] == "supported"
    (bag,) = (control for control in record["measurement"]["controls"] if control["name"] == "bag")
    assert bag["score"] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--probe-seeds=0"], "--probe-seeds 0: give at least 1 seed, such as 5 for the seeds 0 to 4"),
        (
            ["--probe-seeds=x"],
            "--probe-seeds x: give a number of seeds, such as 5, or a list of them, such as 0,3,7",
        ),
        (
            ["--probe-seeds="],
            "--probe-seeds : give a number of seeds, such as 5, or a list of them, such as 0,3,7",
        ),
        (
            ["--probe-seeds=-1"],
            "--probe-seeds -1: give a number of seeds, such as 5, or a list of them, such as 0,3,7",
        ),
        (
            ["--probe-seeds=1,"],
            "--probe-seeds 1,: give a number of seeds, such as 5, or a list of them, such as 0,3,7",
        ),
        (
            ["--probe-seeds=1,2,1"],
            "--probe-seeds 1,2,1 holds 1 twice, and a seed drawn again adds nothing: give each once",
        ),
        (["--probe-seed=-1"], "--probe-seed -1: give 0 or more"),
        (
            ["--probe-seeds=5", "--probe-seed=3"],
            "--probe-seeds 5 and --probe-seed 3 are given: give one of the two, as in --probe-seeds 0,3 ",
        ),
        (
            ["--probe-seed=0", "--probe-seeds=5"],
            "--probe-seeds 5 and --probe-seed 0 are given: give one of the two, as in --probe-seeds 0,1 ",
        ),
    ],
)
def test_bad_seeds_are_refused(project, options, message):
    """What names no seeds, one twice, or both options is one line that says what is right."""
    project.write(DRAWS)
    result = project.run(*options)
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line.strip()]
    assert line.startswith(f"ERROR: {message}")


def test_a_baseline_notes_its_seeds(scored, project):
    """A baseline of several seeds holds for those; with others it is left out, or refused with the option that fits."""
    scored([0.95, 0.96], "--probe-update")
    assert json.loads(project.baseline().read_text())["seeds"] == [0, 1]
    result, record = scored([0.5, 0.5])
    assert record["known"]["outcome"] == "supported"
    result.stdout.fnmatch_lines(["the verdict changed: baseline supported*"])
    for given, seeds in (("--probe-seed=1", "seed 1"), ("--probe-seeds=0,2", "seeds 0, 2 pooled")):
        result = project.run(given)
        line = (
            f"the baseline of tiny was left out: it was measured with seeds 0, 1 pooled, this run has {seeds}"
        )
        assert result.outlines.count(line) == 1
        result = project.run(given, f"--probe-baseline={project.baseline()}")
        assert result.ret == 4
        assert result.errlines[0].endswith(f"this run has {seeds}: give --probe-seeds 2")


def test_selection_and_last_failed_work_as_with_one_seed(scored, project):
    """`--lf` runs the test of a refuted pool again, with all its seeds, and `-x` ends the run at it."""
    project.write("def test_after():\n    pass\n", name="test_later")
    result, _ = scored([0.5, 0.5, 0.95], "-x", "--probe-baseline=none", "-p", "cacheprovider")
    assert result.parseoutcomes() == {"failed": 1}
    result = project.run("--probe-seeds=3", "--lf", "--probe-baseline=none")
    assert result.parseoutcomes() == {"failed": 1}
    assert len(project.reports()[-1]["claims"][0]["seeds"]) == 3


@pytest.mark.slow
def test_workers_give_the_same_run(project):
    """Two workers, file by file, give the records of one process."""
    for name in ("test_one", "test_two"):
        project.write(
            f"""
            @claim("{name}")
            @pytest.mark.parametrize("where", ["a", "b"])
            def test_c(evidence, rng, where):
                evidence.record(measured(0.95 + rng.integers(10) / 1000, details={{"drawn": rng.random(2)}}))
            """,
            name=name,
        )
    project.run("--probe-seeds=0,5", "--probe-baseline=none")
    options = ("-p", "lazarus_probe.plugin", "-p", "xdist.plugin", "-n2", "--dist", "loadfile")
    more = (f"--probe-model={project.model}", "--probe-seeds=0,5", "--probe-baseline=none")
    result = project.pytester.runpytest_subprocess(*options, *more, timeout=120)
    result.assert_outcomes(passed=4)
    alone, parallel = project.reports()
    assert parallel["claims"] == alone["claims"]
    assert parallel["seeds"] == alone["seeds"] == [0, 5]


def test_a_pool_can_be_reckoned_from_runs_of_one_seed(project):
    """The verdict of `--probe-seeds` is that of the runs of its seeds alone when they are pooled afterwards."""
    project.write("""
        @claim("c")
        @pytest.mark.parametrize("where", ["a", "b"])
        def test_c(evidence, rng, where):
            p = 0.001 * rng.random()
            evidence.record(measured(0.92 + 0.05 * rng.random(), p=p, details={"drawn": rng.random(2)}))

        @claim("moot")
        def test_moot(evidence, rng):
            evidence.require(rng.random() < 0, "never")
    """)
    for seed in (0, 1, 2):
        project.run(f"--probe-seed={seed}", "--probe-baseline=none")
    project.run("--probe-seeds=3", "--probe-baseline=none")
    *alone, pooled = map(Run.model_validate, project.reports())
    assert pooled_records(dict(enumerate(alone))) == pooled.claims


def test_what_moved_is_judged_over_all_claims(project, monkeypatch):
    """A score that moved by more than its own interval is not told as moved where forty others were compared too."""
    monkeypatch.setenv("MOVED", "0")
    project.write("""
        import os

        @claim("c")
        @pytest.mark.parametrize("case", range(40))
        def test_c(evidence, case):
            moved = float(os.environ["MOVED"]) if case == 7 else 0
            evidence.record(measured(0.93 + moved))
    """)
    project.run("--probe-update")
    for moved, told in (("0.03", 0), ("0.04", 0), ("0.06", 1)):
        monkeypatch.setenv("MOVED", moved)
        result = project.run()
        said = [line for line in result.outlines if "its score moved by" in line]
        assert len(said) == told
        (known,) = [each["known"] for each in project.reports()[-1]["claims"] if each["parameters"] == "7"]
        assert known["difference"]["low"] > 0  # by itself it would count
        assert known["difference"]["lines"] == 40
    assert said[0].endswith("of 40 compared)")
