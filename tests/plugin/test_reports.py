from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from lazarus_probe.reports.run_log import read_any

pytest_plugins = ["pytester"]

SUITE = """
@claim("right")
def test_right(evidence):
    evidence.record(measured(0.95, p=0.01, details={"tokens": ["a|b", "<c>"], "rates": [0.5]}))

@claim("wrong")
@pytest.mark.parametrize("where", ["L10", "L2"])
def test_wrong(evidence, where):
    evidence.record(measured(0.5))

@claim("moot")
def test_moot(evidence):
    evidence.require(False, "a | b <c> *d* [e](f) g")
"""
SCHEMA = Path(__file__).parents[2] / "lazarus_probe/reports/run.schema.json"


@pytest.fixture
def ran(project):
    """A project whose suite has run once."""
    project.write(SUITE)
    project.run("--junitxml=junit.xml", f"--rootdir={project.pytester.path}")
    return project


def test_run_is_valid_and_repeatable(ran):
    """run.json keeps to the committed schema and holds what is needed to repeat the run."""
    (run,) = ran.reports()
    jsonschema.validate(run, json.loads(SCHEMA.read_text()))
    assert run["seed"] == 0
    assert run["partial"] is False
    assert run["outcomes"] == {"supported": 1, "refuted": 2, "not applicable": 1}
    assert {"device", "blas", "python", "platform", "packages"} == set(run["environment"])
    assert run["environment"]["packages"]["mlx"][0].isdigit()
    model = run["claims"][0]["model"]
    assert len(model.pop("fingerprint")) == 64
    assert model == {"name": "tiny", "num_layers": 2, "dtype": "float32"}
    (right,) = [claim for claim in run["claims"] if claim["outcome"] == "supported"]
    assert right["claim"]["threshold"] == 0.9
    assert right["measurement"]["details"] == {"tokens": ["a|b", "<c>"], "rates": [0.5]}
    assert right["measurement"]["p"] == 0.01


def test_run_holds_no_path(ran):
    """Neither report says where on this machine anything lies."""
    (folder,) = (ran.pytester.path / "reports").iterdir()
    for name in ("run.json", "summary.md"):
        text = (folder / name).read_text()
        assert str(ran.pytester.path) not in text
        assert str(ran.model.parent) not in text
        assert str(Path.home()) + "/" not in text
    assert "--probe-model=tiny" in ran.reports()[0]["arguments"]


def test_claims_are_in_natural_order(ran):
    """L10 comes after L2."""
    keys = [claim["parameters"] for claim in ran.reports()[0]["claims"] if claim["claim"]["id"] == "wrong"]
    assert keys == ["L2", "L10"]


def test_markup_of_prompts_is_escaped(ran):
    """A `|`, `<`, `*` or link in a sentence stays text in summary.md."""
    (summary,) = (ran.pytester.path / "reports").glob("*/summary.md")
    text = summary.read_text()
    assert "a \\| b &lt;c> \\*d\\* [e\\](f) g" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert all(row.count("|") == 8 for row in rows)


def test_junitxml_has_the_numbers(ran):
    """Every number of a verdict is a property of its test case."""
    tree = ElementTree.parse(ran.pytester.path / "junit.xml")
    (case,) = [case for case in tree.iter("testcase") if case.get("name") == "test_right[tiny]"]
    found = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert found["verdict"] == "supported"
    assert [float(found[name]) for name in ("score", "low", "high", "p")] == pytest.approx(
        [0.95, 0.93, 0.97, 0.01]
    )
    assert float(found["gain over majority"]) == 0.5
    (case,) = [case for case in tree.iter("testcase") if case.get("name") == "test_moot[tiny]"]
    assert case.find("skipped") is not None


def test_terminal_is_readable(ran):
    """The header names the run; table and sentences keep to 100 columns."""
    result = ran.run()
    result.stdout.fnmatch_lines(
        [
            "lazarus_probe: models tiny; seed 0; device *; BLAS *",
            "*= claims =*",
            "claim * model * verdict * effect * interval * best control*",
            "report: reports/*-tiny*",
        ]
    )
    first = result.outlines.index(f"{' claims ':=^80}")
    last = next(i for i, line in enumerate(result.outlines) if line.startswith("report: "))
    assert max(map(len, result.outlines[first:last])) <= 100  # what follows is pytest's own


def test_github_summary_is_appended(project, monkeypatch):
    """What a CI job's summary holds already stays, and the table follows."""
    path = project.pytester.path / "step.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    project.write(SUITE)
    project.run()
    assert path.read_text().startswith("before\n# Claims, run ")
    assert "| right | tiny | supported | 0.95 |" in path.read_text()


def test_report_folder_is_chosen(project):
    """--probe-report says where runs and baselines go, and it is made."""
    project.write(SUITE)
    project.run("--probe-report=deep/down", "--probe-update")
    names = sorted(
        path.name.partition("-tiny")[1] or path.name
        for path in (project.pytester.path / "deep/down").iterdir()
    )
    assert names == ["-tiny", "baselines"]
    assert not (project.pytester.path / "reports").exists()


def test_failed_write_leaves_nothing(project, monkeypatch):
    """A report that cannot be written is one line and exit code 4; every verdict stays in run.jsonl."""
    project.write(SUITE)
    monkeypatch.setattr(Path, "replace", _no_space)
    result = project.run("-p", "no:cacheprovider")
    assert result.ret == 4
    result.stdout.fnmatch_lines(
        ["right * supported *", "ERROR: the report could not be written: *No space left on device*"]
    )
    (folder,) = (project.pytester.path / "reports").iterdir()
    assert [path.name for path in folder.iterdir()] == ["run.jsonl"]
    run = read_any(folder)
    assert (len(run.claims), run.partial) == (4, False)


def test_numbers_survive_what_cannot_be_written(project, monkeypatch):
    """A page that cannot be drawn, and a step summary that cannot be written, take no number with them."""
    import lazarus_probe.reports.page as page

    monkeypatch.setattr(page, "page_html", _cannot_draw)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.pytester.path))
    project.write(SUITE)
    result = project.run("--probe-update")
    assert result.ret == 4
    result.stdout.fnmatch_lines(
        [
            "*= claims =*",
            "report: reports/*",
            "tiny.json: kept 4 verdicts *",
            "ERROR: $GITHUB_STEP_SUMMARY could not *",
        ]
    )
    (run,) = project.reports()
    assert len(run["claims"]) == 4
    (html,) = (project.pytester.path / "reports").glob("*/index.html")
    assert (
        "The page could not be made (ValueError: no &lt;ink&gt;); the numbers are in run.json"
        in html.read_text()
    )


def _cannot_draw(run):
    raise ValueError("no <ink>")


def _no_space(self, target):
    raise OSError(28, "No space left on device", str(self))


def test_no_claims_no_report(project):
    """A session without claims leaves nothing behind and says nothing."""
    project.write("def test_plain(): pass")
    result = project.run(models=())
    assert "lazarus_probe" not in result.stdout.str()
    assert not (project.pytester.path / "reports").exists()


def test_collecting_writes_nothing(project):
    """--collect-only lists claims and runs none."""
    project.write(SUITE)
    result = project.run("--collect-only", "-q")
    assert "test_claims.py::test_wrong[tiny-L10]" in result.outlines
    assert not (project.pytester.path / "reports").exists()


def test_models_of_a_run_are_side_by_side(project, make_model):
    """A run of several models ends with its claims by model in the order given, and keeps that order."""
    other = make_model("another", seed=1, num_key_value_heads=4)
    project.write("""
        @claim("a")
        def test_a(evidence, subject):
            evidence.record(measured(0.95 if subject.name == "tiny" else 0.5))
    """)
    result = project.run(models=(project.model, other))
    result.stdout.fnmatch_lines(
        [
            "1 tiny (*), seed 0",
            "2 another (*), seed 0",
            "all of *",
            "claim   1 tiny           2 another     effect",
            "a       supported 0.95  ▼refuted 0.50  █▅",
        ]
    )
    (run,) = project.reports()
    assert run["models"] == ["tiny", "another"]
    (folder,) = (project.pytester.path / "reports").glob("*-another_tiny")
    assert "Models side by side" in (folder / "index.html").read_text()
    assert (
        "| a | supported 0.95 [0.93, 0.97] | ▼ refuted 0.50 [0.48, 0.52] | █▅ |"
        in (folder / "summary.md").read_text()
    )
