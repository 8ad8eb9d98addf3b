"""The same claims beside the plugins that a project may have: the same verdicts and the same exit code.

`make plugins` installs them; without that, what is not there is left out.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

SUITE = """
@claim("right")
def test_right(evidence, rng):
    score = 0.95 + rng.integers(10) / 1000
    evidence.record(measured(score, p=0.001, seed=evidence.seed, details={"drawn": rng.random(3)}))

@claim("wrong")
@pytest.mark.parametrize("where", ["a", "1-3"])
def test_wrong(evidence, where):
    evidence.record(measured(0.5))

@claim("weak")
def test_weak(evidence):
    evidence.record(measured(0.95, p=0.04))

@claim("moot")
def test_moot(evidence):
    evidence.require(False, "no")

@claim("broken")
def test_broken(evidence):
    assert 1 == 2

def test_plain():
    pass
"""
# pytest-forked 1.7 sends a report's attributes with `marshal`, which the node id of pytest 9.2 does not go through: no
# test at all comes back. With this it sends reports as those of earlier versions are.
AS_BEFORE = """
import pytest_forked
serialize_report = pytest_forked.serialize_report

def as_before(report):
    return {key: value for key, value in serialize_report(report).items() if key != "_id"} | {"nodeid": report.nodeid}

pytest_forked.serialize_report = as_before
"""
XDIST = ("-pxdist.plugin", "-n2")
BESIDE = {
    "rerunfailures": ("-ppytest_rerunfailures", "--reruns=2"),
    "repeat": ("-ppytest_repeat", "--count=3"),
    "randomly": ("-ppytest_randomly", "--randomly-seed=3"),
    "random-order": ("-prandom_order.plugin", "--random-order"),
    "timeout": ("-ppytest_timeout", "--timeout=60"),
    "forked": ("-ppytest_forked", "--forked"),
    "asyncio": ("-ppytest_asyncio.plugin", "--asyncio-mode=auto"),
    "cov": ("-ppytest_cov.plugin", "--cov=."),
    "html": (
        "-ppytest_metadata.plugin",
        "-ppytest_html.plugin",
        "-ppytest_html.fixtures",
        "--html=page.html",
    ),
    "xdist load": (*XDIST, "--dist=load"),
    "xdist loadscope": (*XDIST, "--dist=loadscope"),
    "xdist loadfile": (*XDIST, "--dist=loadfile"),
    "xdist worksteal": (*XDIST, "--dist=worksteal"),
    "xdist each": (*XDIST, "--dist=each"),
    "several": (
        *XDIST,
        "-ppytest_rerunfailures",
        "--reruns=1",
        "-ppytest_repeat",
        "--count=2",
        "-ppytest_timeout",
    ),
}


@pytest.fixture
def run(project):
    """Runs the project with options, in a process of its own; returns the exit code, run.json and the output."""
    project.use_stub()

    def one(*options):
        for option in options:
            module = option[2:].partition(".")[0]
            if option.startswith("-p") and not find_spec(module) and not os.environ.get("PLUGINS"):
                pytest.skip(f"{module} is not installed; `make plugins` does that")
        if "--forked" in options:
            project.use_stub(AS_BEFORE)
        result = project.run_apart("--junitxml=junit.xml", *options)
        return int(result.ret), project.reports()[-1], result.stdout.str()

    return one


def verdicts(run):
    """All that a plugin must leave as it is; the tests' own ids and the attempts are its business."""
    free = ("attempts", "test")
    claims = [{key: value for key, value in claim.items() if key not in free} for claim in run["claims"]]
    return claims, run["families"], run["cases"], run["partial"], [each["claim"] for each in run["broken"]]


@pytest.fixture(scope="module")
def alone():
    """The outcomes of the suite without any of them, once it has run."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("beside", BESIDE)
def test_the_same_verdicts(project, run, alone, beside):
    """A plugin that orders, repeats, distributes, times, forks or watches tests changes no verdict and no exit code."""
    project.write(SUITE)
    if not alone:
        alone["code"], alone["run"], _ = run()
    code, found, output = run(*BESIDE[beside])
    assert "INTERNALERROR" not in output
    assert verdicts(found) == verdicts(alone["run"])
    assert code == alone["code"] == 1
    assert len(found["claims"]) == 5
    attempts = {claim["claim"]["id"]: len(claim["attempts"]) for claim in found["claims"]}
    expected = {"repeat": (3, 3), "xdist each": (2, 2), "rerunfailures": (0, 3), "several": (2, 4)}
    assert (attempts["right"], attempts["wrong"]) == expected.get(beside, (0, 0))
    cases = ElementTree.parse(project.pytester.path / "junit.xml").iter("testcase")
    values = {
        each.get("value")
        for case in cases
        if "test_weak" in case.get("name")
        for each in case.iter("property")
        if each.get("name") == "verdict"
    }
    assert values == {"inconclusive"}


FLAKY = """
import pathlib

@claim("flaky")
def test_flaky(evidence, pytestconfig):
    met = pathlib.Path(__file__).with_name("met")
    first = not met.exists()
    met.touch()
    evidence.record(measured(0.3 if first else 0.95, gain=0.2 if first else 0.5))

@claim("steady")
@pytest.mark.parametrize("where", range(3))
def test_steady(evidence, where):
    evidence.record(measured(0.95))
"""


@pytest.mark.parametrize("beside", ["rerunfailures", "repeat"])
@pytest.mark.parametrize("strict", [False, True])
def test_a_verdict_that_changes_within_a_run(project, run, beside, strict):
    """Refuted and then supported is inconclusive, with both kept; it fails under --probe-strict alone."""
    project.write(FLAKY)
    code, found, output = run(*BESIDE[beside], *(["--probe-strict"] if strict else []))
    assert code == (1 if strict else 0)
    (flaky,) = [claim for claim in found["claims"] if claim["claim"]["id"] == "flaky"]
    outcomes = [(attempt["outcome"], attempt["score"]) for attempt in flaky["attempts"]]
    assert outcomes[:2] == [("refuted", 0.3), ("supported", 0.95)]
    assert flaky["outcome"] == flaky["alone"] == "inconclusive"
    assert flaky["reason"].startswith(
        "flaky: within one run it came out refuted 0.30 [0.28, 0.32], then supported"
    )
    assert [family["size"] for family in found["families"]] == [4]
    assert "inconclusive: flaky: within one run it came out refuted" in output


def test_a_claim_in_a_coroutine(project, run):
    """With pytest-asyncio a claim's test may be a coroutine, also once a seed."""
    project.write("""
        @claim("awaited")
        async def test_awaited(evidence):
            import asyncio
            await asyncio.sleep(0)
            evidence.record(measured(0.95))
    """)
    for more in ((), ("--probe-seeds=2",)):
        code, found, _ = run(*BESIDE["asyncio"], *more)
        assert (code, [claim["outcome"] for claim in found["claims"]]) == (0, ["supported"])
    assert [seed["outcome"] for seed in found["claims"][0]["seeds"]] == ["supported"] * 2


def test_a_timeout_that_ends_the_process_loses_nothing(project, run):
    """pytest-timeout's threads end the whole process: what was known until then is in run.jsonl."""
    project.write(SUITE + '\n@claim("slow")\ndef test_slow(evidence):\n    import time; time.sleep(60)\n')
    with pytest.raises(IndexError):  # no run.json
        run("-ppytest_timeout", "--timeout=3", "--timeout-method=thread")
    (log,) = (project.pytester.path / "reports").glob("*/run.jsonl")
    known = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    assert [each["claim"]["claim"]["id"] for each in known if each["claim"]] == [
        "right",
        "wrong",
        "wrong",
        "weak",
        "moot",
    ]
    assert [each["broken"]["claim"] for each in known if each["broken"]] == ["broken"]
