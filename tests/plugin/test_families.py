"""What families do to outcomes at the end of a session."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

PAIR = """
import os

@claim("weak")
def test_weak(evidence):
    evidence.record(measured(0.95, p=float(os.environ.get("P", "0.03"))))

@claim("false")
def test_false(evidence):
    evidence.record(measured(0.5))
"""
CUT = "supported alone (p = 0.03), but q = 0.06 in the family all of 2, at most 0.05 is needed; "


@pytest.fixture
def cut(project):
    """A project with a claim that is supported alone and not in its family, and a false one."""
    project.write(PAIR)
    return project


def test_supported_alone_becomes_inconclusive(cut):
    """What is supported alone and not in its family is counted, shown and reported as inconclusive."""
    result = cut.run()
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 1, "inconclusive": 1}
    result.stdout.fnmatch_lines(
        [
            f"weak on tiny: inconclusive: {CUT}*",
            "family all on tiny: 2 of 2 declared were tested; inconclusive among so many: weak",
        ]
    )
    (run,) = cut.reports()
    (weak,) = [each for each in run["claims"] if each["claim"]["id"] == "weak"]
    assert (weak["outcome"], weak["alone"], weak["q"]) == ("inconclusive", "supported", 0.06)
    assert run["outcomes"] == {"inconclusive": 1, "refuted": 1}
    assert run["families"][0]["demoted"] == ["weak"]


def test_junitxml_has_the_final_verdict(cut):
    """The XML has each test's outcome in its family, and counts it so."""
    cut.run("--junitxml=junit.xml", "--probe-strict")
    (suite,) = ElementTree.parse(cut.pytester.path / "junit.xml").iter("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "2", "0")
    (case,) = [case for case in suite.iter("testcase") if case.get("name") == "test_weak[tiny]"]
    found = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert (found["verdict"], found["alone"], found["q"]) == ("inconclusive", "supported", "0.06")
    assert found["reason"].startswith(CUT)
    assert case.find("failure").get("message").startswith(f"inconclusive: {CUT}")


def test_strict_fails_what_the_family_cuts(project):
    """Under --probe-strict it is a failure, with its sentence among the failures, and --lf runs it again."""
    project.write(PAIR.replace("measured(0.5)", "measured(0.95, p=0.9)"))
    result = project.run("--probe-strict", "-p", "cacheprovider")
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 2}
    result.stdout.fnmatch_lines(["*= FAILURES =*", f"inconclusive: {CUT}* (a failure under --probe-strict)"])
    assert project.run().parseoutcomes() == {"inconclusive": 2}
    result = project.run("--probe-strict", "--lf", "-p", "cacheprovider")
    assert result.parseoutcomes()["failed"] == 2


def test_final_verdict_is_held_against_the_final_one(cut, monkeypatch):
    """A verdict that only the family changes is a change, and one that it changed before too is none."""
    cut.run("--probe-update")
    result = cut.run()
    assert result.ret == 0
    assert result.parseoutcomes() == {"inconclusive": 1, "xfailed": 1}
    monkeypatch.setenv("P", "0.001")
    assert cut.run().parseoutcomes() == {"passed": 1, "xfailed": 1}
    result = cut.run("--probe-fail-on=any")
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 1, "xfailed": 1}
    result.stdout.fnmatch_lines(["the verdict changed: baseline inconclusive *, now supported *"])
    assert cut.reports()[-1]["changed"] == ["tiny: weak"]


def test_a_family_that_cuts_more_is_a_change(cut, monkeypatch):
    """What was supported in its family and is no longer fails at the end, though its test passed."""
    monkeypatch.setenv("P", "0.001")
    cut.run("--probe-update")
    monkeypatch.delenv("P")
    result = cut.run("--junitxml=junit.xml")
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 1, "xfailed": 1}
    result.stdout.fnmatch_lines(
        ["*= FAILURES =*", "the verdict changed: baseline supported *, now inconclusive *"]
    )


YAML = """
- {{id: weak, statement: It is so., source: a paper, family: all, kind: decodability, threshold: 0.9, margin: 0.1,
   controls: [majority]}}
- {{id: other, statement: It is so., source: a paper, family: all, kind: decodability, threshold: 0.9, margin: 0.1,
   controls: [majority], cases: {cases}}}
"""
DECLARED = """
@pytest.mark.claim("weak")
def test_weak(evidence):
    evidence.record(measured(0.95, p=0.03))

@pytest.mark.claim("other")
@pytest.mark.parametrize("where", ["a", "b"])
def test_other(evidence, where):
    evidence.record(measured(0.95, p=0.001))
"""


def test_part_of_a_family_says_what_is_missing(project):
    """A run of some claims counts the declared others as p = 1, names them, and is partial."""
    project.write(DECLARED, some=YAML.format(cases=2))
    assert project.run().parseoutcomes() == {"passed": 3}
    result = project.run("-k", "weak")
    assert result.parseoutcomes() == {"inconclusive": 1, "deselected": 2}
    result.stdout.fnmatch_lines(
        [
            "family all on tiny: 1 of 3 declared were tested; the others count as p = 1: other (2 of 2); "
            "inconclusive among so many: weak"
        ]
    )
    whole, part = project.reports()
    assert (whole["partial"], part["partial"]) == (False, True)


def test_part_of_a_family_is_held_against_the_tests_alone(project):
    """Where another part of the family ran than in the baseline, it takes a test that comes out otherwise to change."""
    project.write(DECLARED, some=YAML.format(cases=2))
    project.run("--probe-update")
    for arguments in (["-k", "weak"], ["-k", "weak", "--probe-strict"], ["-k", "weak", "--probe-update"]):
        result = project.run(*arguments)
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            [
                "weak on tiny: inconclusive (alone as in the baseline): supported alone *",
                "the baseline holds other claims of all than this run: their verdicts are compared as they are *",
            ]
        )
    assert project.run().parseoutcomes() == {"passed": 3}  # the update kept the verdict of the whole family


@pytest.mark.parametrize("how", ["-x", "--maxfail=1", "--lf"])
def test_stopped_runs_are_partial(cut, how):
    """A run that was stopped, or that runs again what failed, is partial, and its family says what is missing."""
    cut.write('@claim("first")\ndef test_first(evidence):\n    evidence.record(measured(0.5))\n' + PAIR)
    if how == "--lf":
        cut.run("-p", "cacheprovider")
    result = cut.run(how, "-p", "cacheprovider")
    assert result.ret == 1
    assert cut.reports()[-1]["partial"] is True
    assert len(cut.reports()[-1]["claims"]) == (2 if how == "--lf" else 1)


def test_exit_code_follows_the_family(project):
    """Where every test passed, and the family cut one, the session fails under --probe-strict alone."""
    project.write(DECLARED, some=YAML.format(cases=2))
    assert project.run("-k", "weak").ret == 0
    assert project.run("-k", "weak", "--probe-strict").ret == 1


NEAR = """
import os

@claim("near")
def test_near(evidence):
    evidence.record(measured(float(os.environ.get("NEAR", "0.879"))))

@claim("a")
def test_a(evidence):
    evidence.record(measured(0.98, p=0.001))

@claim("b")
def test_b(evidence):
    evidence.record(measured(0.98, p=0.001))
"""


@pytest.mark.parametrize("strict", [False, True])
def test_refuted_alone_becomes_inconclusive(project, strict):
    """What is refuted alone and not in its family is no failure at the end, in counts, exit code, XML and `--lf`."""
    project.write(NEAR)
    options = ["--junitxml=junit.xml", "-p", "cacheprovider", *["--probe-strict"] * strict]
    result = project.run(*options)
    assert result.ret == int(strict)
    assert result.parseoutcomes() == {"passed": 2, "failed" if strict else "inconclusive": 1}
    result.stdout.fnmatch_lines(
        ["*inconclusive: refuted alone (p = 0.021), but q = 0.062 in the family all of 3, *"]
    )
    (suite,) = ElementTree.parse(project.pytester.path / "junit.xml").iter("testsuite")
    counts = (suite.get("tests"), suite.get("failures"), suite.get("skipped"))
    assert counts == (("3", "1", "0") if strict else ("3", "0", "1"))
    (near,) = [case for case in suite.iter("testcase") if case.get("name") == "test_near[tiny]"]
    assert [child.tag for child in near if child.tag != "properties"] == ["failure" if strict else "skipped"]
    result = project.run("--lf", "-p", "cacheprovider")
    assert sum(result.parseoutcomes().values()) - result.parseoutcomes().get("deselected", 0) == (
        1 if strict else 3
    )


def test_a_refutation_that_its_family_cuts_is_held_against_the_final_one(project, monkeypatch):
    """A baseline's inconclusive is met by a refutation that the family cuts, and not by one that it leaves."""
    project.write(NEAR)
    project.run("--probe-update")
    result = project.run()
    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 2, "inconclusive": 1}
    monkeypatch.setenv("NEAR", "0.8")
    result = project.run()
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 2, "failed": 1}
    result.stdout.fnmatch_lines(["the verdict changed: baseline inconclusive *, now refuted *"])
    project.run("--probe-update")
    monkeypatch.delenv("NEAR")
    result = project.run("--probe-fail-on=gained")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["the verdict changed: baseline refuted *, now inconclusive *"])


def test_a_stopped_run_keeps_its_failure(project):
    """Where `-x` ended the run at a refuted claim it has failed, whatever the missing rest of the family cuts."""
    project.write(NEAR)
    result = project.run("-x")
    assert result.ret == 1
    assert result.parseoutcomes() == {"failed": 1}
