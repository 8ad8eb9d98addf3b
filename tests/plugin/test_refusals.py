from __future__ import annotations

import json
import shutil

import pytest

pytest_plugins = ["pytester"]

GOOD = """
- id: known
  statement: It is so.
  source: a paper
  family: all
  kind: decodability
  threshold: 0.9
  margin: 0.1
  controls: [majority]
"""
USES = """
@pytest.mark.claim({mark})
def test_c(evidence):
    evidence.record(measured(0.95))
"""


def refused(result):
    """The one line of a run that ended as an error of usage, before anything ran."""
    assert result.ret == 4
    (line,) = [line for line in result.errlines if line.strip()]
    assert line.startswith("ERROR: ")
    assert "Traceback" not in result.stdout.str()
    assert "passed" not in result.stdout.str()
    return line.removeprefix("ERROR: ")


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (
            GOOD.replace("  controls: [majority]", ""),
            "some.yaml:2: claim 'known': it has no controls; a claim needs at least one",
        ),
        (
            GOOD.replace("[majority]", "[]"),
            "some.yaml:9: claim 'known': it has no controls; a claim needs at least one",
        ),
        (GOOD.replace("  threshold: 0.9", ""), "some.yaml:2: claim 'known': field 'threshold' is missing"),
        (
            GOOD.replace("margin", "margins"),
            "some.yaml:8: claim 'known': field 'margins' is unknown",
        ),
        (
            GOOD + "  treshold: 1\n",
            "some.yaml:10: claim 'known': field 'treshold' is unknown; did you mean threshold? give one of "
            "id, statement, source, family, kind, threshold, effect, margin, controls, generalises_over, "
            "minimum_groups, failing_share, parts, alpha, cases, depth, published, needs, assumes, parameters",
        ),
        (
            GOOD.replace("0.9", ".nan"),
            "some.yaml:7: claim 'known': field 'threshold': Input should be a finite number",
        ),
        (
            GOOD.replace("0.1", "-1"),
            "some.yaml:8: claim 'known': field 'margin': Input should be greater than 0",
        ),
        ("known: 1", "some.yaml must be a list of claims, each with id, statement, source and threshold"),
        ("", "some.yaml must be a list of claims"),
        ("- [", "some.yaml:1 cannot be read as YAML: "),
        (GOOD + GOOD, "some.yaml:11: claim 'known' is declared twice, first in some.yaml:2"),
        (
            GOOD.replace("id: known", "id: other"),
            "test_claims.py: claim 'known' is not pre-registered; give one of other",
        ),
    ],
)
def test_bad_expectations(project, yaml, message):
    """A claim that is not pre-registered, or not as it should be, is named before anything runs."""
    project.write(USES.format(mark='"known"'), some=yaml)
    line = refused(project.run())
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            USES.format(mark='"known"'),
            "test_claims.py: claim 'known' is not pre-registered: expectations/ next to it has no YAML file of claims",
        ),
        (USES.format(mark=""), "test_claims.py::test_c[tiny]: @pytest.mark.claim needs an id"),
        (USES.format(mark='"a", "b"'), "test_claims.py::test_c[tiny]: @pytest.mark.claim takes an id alone"),
        (
            USES.format(mark='"a", margin=1'),
            "test_claims.py::test_c[tiny]: @pytest.mark.claim takes an id alone",
        ),
        (
            "def test_c(evidence): pass",
            "test_claims.py::test_c[tiny] asks for `evidence` without @pytest.mark.claim",
        ),
        (
            "import warnings, pytest\nwith warnings.catch_warnings(action='ignore'):\n    clam = pytest.mark.clam\n\n"
            '@clam("c")\ndef test_c(evidence): pass',
            'test_claims.py::test_c[tiny] asks for `evidence` without @pytest.mark.claim("id"); did you mean claim by '
            "@pytest.mark.clam?",
        ),
        (
            '@claim("c")\ndef test_c(): pass',
            "test_claims.py::test_c is marked as claim 'c' and never asks for `evidence`",
        ),
        (
            '@claim("c")\nclass TestC:\n    def test_1(self, evidence): pass\n    def test_2(self, evidence): pass',
            "claim 'c' is decided twice, by test_claims.py::TestC::test_1[tiny] and "
            "test_claims.py::TestC::test_2[tiny]; parametrise one test",
        ),
    ],
)
def test_bad_markers(project, body, message):
    """A marker that decides nothing, or decides what is decided elsewhere, is refused."""
    project.write(body)
    assert refused(project.run()).startswith(message)


def test_deselected_claims_are_not_looked_at(project):
    """A claim that is not to run need not be complete."""
    project.write(
        '@claim("c")\ndef test_good(evidence): evidence.record(measured(0.95))\ndef test_bad(evidence): 0'
    )
    assert project.run("-k", "good").ret == 0


CLAIM = '@claim("c")\ndef test_c(evidence{}):\n    evidence.record(measured(0.95))'


@pytest.mark.parametrize("also", ["", ", layer"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("missing", "no model named '*spoilt': bundled are organism*"),
        ("file", "*spoilt is a file; give the folder*"),
        ("empty", "*spoilt is not a checkpoint: config.json is missing"),
        ("no weights", "*spoilt is not a checkpoint: model.safetensors is missing"),
        ("no tokenizer", "*spoilt is not a checkpoint: tokenizer.json is missing"),
        ("truncated", "*model.safetensors is truncated or damaged*"),
        ("config", "*config.json cannot be read*"),
    ],
)
def test_bad_models(project, spoil, message, also):
    """A model that is none is refused in one line at collection, with or without layers."""
    folder = project.pytester.path / "spoilt"
    spoilt(folder, project.model, spoil)
    project.write(CLAIM.format(also))
    line = refused(project.run(models=(project.model, folder)))
    pattern = f"--probe-model {folder}: {message}"
    assert pytest.LineMatcher([line]).fnmatch_lines([pattern]) is None
    assert project.reports() == []


def spoilt(folder, model, how):
    if how == "missing":
        return
    if how == "file":
        folder.write_text("")
        return
    if how == "empty":
        folder.mkdir()
        return
    shutil.copytree(model, folder)
    weights = folder / "model.safetensors"
    if how == "no weights":
        weights.unlink()
    if how == "no tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()
    if how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    if how == "config":
        (folder / "config.json").write_text("{")


def test_unknown_bundled_name_is_guessed(project):
    """A misspelt name is answered by the name that was meant."""
    project.write(CLAIM.format(""))
    line = refused(project.run(models=("organsim",)))
    assert "no model named 'organsim': did you mean organism?" in line


@pytest.mark.parametrize("change", [{"model_type": "nonsense"}, {"model_type": "gpt2"}])
def test_unsupported_architecture_ends_the_run(project, change):
    """A model that turns out unusable only when it is built ends the run in one line with exit code 4."""
    folder = project.pytester.path / "strange"
    shutil.copytree(project.model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    project.write(
        CLAIM.format("") + "\n\n" + CLAIM.format("").replace('"c"', '"d"').replace("test_c", "test_d")
    )
    result = project.run(models=(folder,))
    assert result.ret == 4
    result.stdout.fnmatch_lines([f"!* --probe-model {folder}: *"])
    assert "Traceback" not in result.stdout.str()
    assert project.reports() == []


def test_two_models_of_one_name(project, make_model):
    """Two folders of the same name would be one model in a report: refused."""
    project.write(CLAIM.format(""))
    other = make_model("tiny", seed=1)
    line = refused(project.run(models=(project.model, other)))
    assert (
        line == f"--probe-model: {project.model} and {other} would both be called 'tiny'; rename one folder"
    )


def test_models_are_no_matter_without_claims(project):
    """Tests that ask for no model run whatever models are named."""
    project.write("def test_plain(): pass")
    project.run(models=("organsim",)).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--probe-baseline=nowhere.json"],
            "--probe-baseline nowhere.json: no such file or name; give auto, none, a baseline's path, or the "
            "name of one (there are none yet)",
        ),
        (["--probe-save=a/b"], "--probe-save a/b: give a name of letters, digits, dots, dashes and*"),
        (["--probe-save=auto"], "--probe-save auto: give a name of letters, digits, dots, dashes and*"),
        (
            ["--probe-save=v1", "--probe-model=organism"],
            "--probe-save v1 is of one model, this run has 2 (tiny, organism): save each in a run of its own*",
        ),
        (["--probe-report=a_file"], "--probe-report a_file is a file; give a folder"),
    ],
)
def test_bad_options(project, options, message):
    """An option that names nothing usable is refused before collection."""
    (project.pytester.path / "a_file").write_text("")
    project.write("def test_plain(): pass")
    line = refused(project.run(*options))
    assert pytest.LineMatcher([line]).fnmatch_lines([message]) is None
