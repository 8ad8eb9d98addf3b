from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TWO = """
import os

@claim("a")
def test_a(evidence):
    evidence.record(measured(float(os.environ.get("A", "0.5"))))

@claim("b")
@pytest.mark.parametrize("where", ["embed-last", "L3"])
def test_b(evidence, where):
    evidence.record(measured(float(os.environ.get("B", "0.95"))))
"""


@pytest.fixture
def kept(project):
    """A project whose baseline says: `a` is refuted, `b` is supported in both places."""
    project.write(TWO)
    result = project.run("--probe-save")
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["tiny.json: kept 3 verdicts (3 new, 0 changed), 0 more as they were"])
    return project


def claims(project, model="tiny"):
    return json.loads(project.baseline(model).read_text())["claims"]


def test_keys_name_claim_and_parameters(kept):
    """A line of a baseline is named by the claim and its parameters, whatever the model is called."""
    assert list(claims(kept)) == ["a", "b[L3]", "b[embed-last]"]


def test_known_refutation_is_xfailed(kept):
    """A claim that is known to be false is no failure, and its sentence stands under the table, once."""
    result = kept.run()
    assert result.ret == 0
    result.assert_outcomes(xfailed=1, passed=2)
    said = [line for line in result.outlines if "0.50 [0.48, 0.52], at least" in line]
    assert said == [
        "a on tiny: refuted (as in the baseline): accuracy 0.50 [0.48, 0.52], at least 0.9 was claimed"
    ]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("A", "0.95", "*baseline refuted 0.50 [[]0.48, 0.52[]], now supported 0.95 [[]0.93, 0.97[]]"),
        ("B", "0.5", "*baseline supported 0.95 [[]0.93, 0.97[]], now refuted 0.50 [[]0.48, 0.52[]]"),
    ],
)
def test_changed_verdict_fails(kept, monkeypatch, name, value, line):
    """A verdict that changed fails with old and new numbers, also where it is better."""
    monkeypatch.setenv(name, value)
    result = kept.run()
    assert result.ret == 1
    result.stdout.fnmatch_lines([line, "if that is right, keep it with --probe-save"])
    run = kept.reports()[-1]
    assert run["changed"] == (["tiny: a"] if name == "A" else ["tiny: b[L3]", "tiny: b[embed-last]"])
    result.stdout.fnmatch_lines(["* tiny * " + ("supported!*" if name == "A" else "refuted!*")])


def test_known_inconclusive_passes_strict(project):
    """What is known to be inconclusive is no failure even under --probe-strict."""
    project.write('@claim("a")\ndef test_a(evidence):\n    evidence.record(measured(0.9))')
    assert project.run("--probe-strict", "--probe-save").ret == 1
    result = project.run("--probe-strict")
    assert result.ret == 0
    assert result.parseoutcomes() == {"inconclusive": 1}


def test_none_ignores_baselines(kept):
    """With --probe-baseline none a known refutation fails."""
    assert kept.run("--probe-baseline=none").ret == 1


def test_save_accepts_a_change(kept, monkeypatch):
    """Saving a changed verdict fails once more, and is what later runs are tested against."""
    monkeypatch.setenv("A", "0.95")
    result = kept.run("--probe-save")
    result.assert_outcomes(failed=1, passed=2)
    assert "if that is right" not in result.stdout.str()
    result.stdout.fnmatch_lines(["tiny.json: kept 3 verdicts (0 new, 1 changed), 0 more as they were"])
    kept.run().assert_outcomes(passed=3)


def test_deselected_claims_keep_their_lines(kept, monkeypatch):
    """A run of some claims saves those and leaves the others as they were."""
    before = claims(kept)
    monkeypatch.setenv("A", "0.95")
    result = kept.run("--probe-save", "-k", "test_a")
    result.stdout.fnmatch_lines(["tiny.json: kept 1 verdicts (0 new, 1 changed), 2 more as they were"])
    assert claims(kept)["a"]["outcome"] == "supported"
    assert {**claims(kept), "a": None} == {**before, "a": None}


@pytest.mark.parametrize("stop", ["-x", "interrupt", "exit"])
def test_cut_short_saves_nothing(kept, monkeypatch, stop):
    """A run that was stopped by -x, by Ctrl-C or by an exit says so and leaves the baselines alone."""
    before = kept.baseline().read_bytes()
    monkeypatch.setenv("A", "0.95")
    if stop != "-x":
        raising = {"interrupt": "raise KeyboardInterrupt", "exit": "pytest.exit('enough', returncode=0)"}[
            stop
        ]
        kept.write(f"{TWO}\ndef test_stop():\n    {raising}\n")
    result = kept.run("--probe-save", *(["-x"] if stop == "-x" else []))
    result.stdout.fnmatch_lines(["no baseline was saved: the run was cut short"])
    assert kept.baseline().read_bytes() == before
    assert kept.reports()[-1]["partial"] is True


def test_moved_threshold_is_a_new_claim(kept):
    """A claim whose thresholds moved is not covered by what the baseline says of the old one."""
    kept.write(TWO.replace('@claim("a")', '@claim("a", threshold=0.8)'))
    assert kept.run().ret == 1


def test_other_version_is_left_out(kept, make_model):
    """A baseline found by name says nothing about other weights of that name, and the run says so."""
    other = make_model("tiny", seed=1, num_key_value_heads=4)
    result = kept.run(models=(other,))
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["the baseline of tiny was left out: *fingerprint*"])


def test_named_baseline_tests_a_later_version(kept, make_model, monkeypatch):
    """A baseline given by its file holds for any version: what it knows is known, what changed fails."""
    later = make_model("later", seed=1, num_key_value_heads=4)
    result = kept.run(f"--probe-baseline={kept.baseline()}", models=(later,))
    result.assert_outcomes(xfailed=1, passed=2)
    result.stdout.fnmatch_lines(["later is tested against the baseline of tiny: *"])
    monkeypatch.setenv("A", "0.95")
    kept.run(f"--probe-baseline={kept.baseline()}", models=(later,)).assert_outcomes(failed=1, passed=2)


def test_other_seed_is_left_out(kept):
    """A baseline of another seed is left out; given by its file, it is refused with the seed that fits."""
    result = kept.run("--probe-seed=1")
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(
        ["the baseline of tiny was left out: it was measured with seed 0, this run has 1"]
    )
    result = kept.run("--probe-seed=1", f"--probe-baseline={kept.baseline()}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --probe-baseline * measured with seed 0*: give --probe-seed 0"])


def test_each_model_has_its_own(kept, make_model):
    """A run over two models tests each against its own baseline and saves each to its own."""
    other = make_model("other", seed=1, num_key_value_heads=4)
    both = (kept.model, other)
    kept.run(models=both).assert_outcomes(xfailed=1, failed=1, passed=4)
    kept.run("--probe-save", models=both)
    assert list(claims(kept, "other")) == list(claims(kept, "tiny"))
    kept.run(models=both).assert_outcomes(xfailed=2, passed=4)


@pytest.mark.parametrize("text", ["", "[]", '{"model": "tiny"}', "\x00"])
def test_damaged_baseline_is_refused(kept, text):
    """A baseline that is none is one line and exit code 4, whether found or given."""
    kept.baseline().write_text(text)
    for choice in ("auto", str(kept.baseline())):
        result = kept.run(f"--probe-baseline={choice}")
        assert result.ret == 4
        (line,) = [line for line in result.errlines if line.strip()]
        assert "tiny.json is no baseline: " in line
        assert line.endswith("; make one with --probe-save")


def test_failed_save_leaves_the_old_one(kept, monkeypatch):
    """A baseline that cannot be written is an error of one line; the old one stays whole, and nothing beside it."""
    before = kept.baseline().read_bytes()
    monkeypatch.setattr(Path, "replace", _no_space)
    result = kept.run("--probe-save")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: the report could not be written: *No space left on device*"])
    assert kept.baseline().read_bytes() == before
    assert [path.name for path in kept.baseline().parent.iterdir()] == ["tiny.json"]


def _no_space(self, target):
    raise OSError(28, "No space left on device", str(self))
