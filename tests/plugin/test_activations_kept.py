"""The store that claims share, in one process, in several, and from one run to the next."""

from __future__ import annotations

import json
import shutil

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import json, os, pathlib

NOTES = pathlib.Path(__file__).parent / "notes"
PROMPTS = ["12 + 5 = ", "Paris", "dog."]

@pytest.mark.parametrize("part", range({parts}))
def test_part(subject, activations, part, request):
    found = activations.get(subject, PROMPTS, ["resid_post.1", "embed"])
    note = {{
        "worker": os.environ.get("PYTEST_XDIST_WORKER", "alone"),
        "passes": activations.passes,
        "hits": activations.hits,
        "values": [values.tolist() for values in found.values()],
    }}
    NOTES.mkdir(exist_ok=True)
    (NOTES / f"{{part}}.json").write_text(json.dumps(note))
"""


def notes(project):
    """What the tests of one run wrote down."""
    folder = project.pytester.path / "notes"
    found = [json.loads(path.read_text()) for path in sorted(folder.iterdir())]
    shutil.rmtree(folder)
    return found


def test_claims_share_one_pass(project):
    """All tests of a run share one store, and a later run finds it in pytest's cache."""
    project.write(SUITE.format(parts=3))
    for first in (1, 0):
        project.run().assert_outcomes(passed=3)
        expected = [(first, part * 2 + 2 * (1 - first)) for part in range(3)]
        assert [(note["passes"], note["hits"]) for note in notes(project)] == expected
    kept = list((project.pytester.path / ".pytest_cache").glob("**/*.safetensors"))
    assert len(kept) == len(list(project.pytester.path.glob("**/*.safetensors"))) == 2


def test_without_a_cache_nothing_is_written(project):
    """Where pytest's cache is switched off, activations are kept in memory alone."""
    project.write(SUITE.format(parts=2))
    project.run("-p", "no:cacheprovider").assert_outcomes(passed=2)
    assert [(note["passes"], note["hits"]) for note in notes(project)] == [(1, 0), (1, 2)]
    assert not list(project.pytester.path.glob("**/*.safetensors"))


@pytest.mark.parametrize("how", ["option", "ini"])
def test_a_later_run_computes_nothing(project, how):
    """With a folder, by option or ini, a second run finds what the first computed."""
    project.write(SUITE.format(parts=1))
    options = ["--probe-activations=kept"] if how == "option" else []
    if how == "ini":
        project.pytester.makeini("[pytest]\nprobe_activations = kept")
    for passes, arguments in ((1, options), (0, options), (1, ["--probe-activations=elsewhere"])):
        project.run(*arguments).assert_outcomes(passed=1)
        (note,) = notes(project)
        assert (note["passes"], note["hits"]) == (passes, 2 - 2 * passes)
    for folder in ("kept", "elsewhere"):
        assert len(list((project.pytester.path / folder).glob("*/*.safetensors"))) == 2


@pytest.mark.slow
def test_workers_share_one_pass(project):
    """Of two workers that need the same, one computes it, and both have the numbers of a single process."""
    project.write(SUITE.format(parts=2))
    options = ("-p", "lazarus_probe.plugin", "-p", "xdist.plugin", "-n2", f"--probe-model={project.model}")
    for passes in (1, 0):
        result = project.pytester.runpytest_subprocess(*options, "--probe-activations=kept", timeout=120)
        result.assert_outcomes(passed=2)
        found = notes(project)
        assert {note["worker"] for note in found} == {"gw0", "gw1"}
        assert sum(note["passes"] for note in found) == passes
        assert sum(note["hits"] for note in found) == 4 - 2 * passes
        assert found[0]["values"] == found[1]["values"]
    project.run().assert_outcomes(passed=2)
    assert notes(project)[0]["values"] == found[0]["values"]


def test_what_a_damaged_file_held_is_computed_again(project):
    """A damaged file is named among the run's warnings, and the tests that need it pass."""
    project.write(SUITE.format(parts=1))
    project.run("--probe-activations=kept").assert_outcomes(passed=1)
    (first,) = notes(project)
    path, _ = (project.pytester.path / "kept").glob("*/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    # Pytest's own remark that this process has imported the plugin comes once a process, here or before.
    own = ("-W", "default::UserWarning", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    result = project.run("--probe-activations=kept", *own)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines([f"*{path} is damaged (*); it is computed again and replaced"])
    assert notes(project)[0]["values"] == first["values"]


def test_a_file_in_place_of_the_folder(project):
    """A folder that is a file is refused before anything runs, whether the option names it or the ini does."""
    project.write(SUITE.format(parts=1))
    (project.pytester.path / "a_file").write_text("")
    for ini in (False, True):
        if ini:
            project.pytester.makeini("[pytest]\nprobe_activations = a_file")
        result = project.run(*([] if ini else ["--probe-activations=a_file"]))
        assert result.ret == 4
        pattern = "ERROR: --probe-activations *a_file is a file; give a folder"
        pytest.LineMatcher(result.errlines).fnmatch_lines([pattern])


def test_a_folder_that_cannot_be_made(project):
    """A folder that turns out unusable ends the run in one line with exit code 4."""
    project.write(SUITE.format(parts=1))
    (project.pytester.path / "a_file").write_text("")
    result = project.run("--probe-activations=a_file/below")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["!* --probe-activations *below cannot keep activations (Not a directory)*"])
    assert "Traceback" not in result.stdout.str()
