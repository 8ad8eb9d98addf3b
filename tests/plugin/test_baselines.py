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
    result = project.run("--probe-update")
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
        (
            "A",
            "0.95",
            "*baseline refuted 0.50 [[]0.48, *, now supported 0.95 [[]0.93, *, difference +0.45 [[]+0.42, +0.48[]]",
        ),
        (
            "B",
            "0.5",
            "*baseline supported 0.95 [[]0.93, *, now refuted 0.50 [[]0.48, *, difference -0.45 [[]-0.48, -0.42[]]",
        ),
    ],
)
def test_changed_verdict_fails(kept, monkeypatch, name, value, line):
    """A verdict that changed is said with old and new numbers; it fails where it is worse, or where any change does."""
    monkeypatch.setenv(name, value)
    assert kept.run().ret == (0 if name == "A" else 1)
    result = kept.run("--probe-fail-on=any")
    assert result.ret == 1
    result.stdout.fnmatch_lines([line])
    assert result.outlines.count("if the changed verdicts are right, keep them with --probe-update") == 1
    run = kept.reports()[-1]
    assert run["changed"] == (["tiny: a"] if name == "A" else ["tiny: b[L3]", "tiny: b[embed-last]"])
    result.stdout.fnmatch_lines(["* tiny * " + ("supported!*" if name == "A" else "refuted!*")])


MOVES = """
import os

@claim("a")
def test_a(evidence):
    score = os.environ["SCORE"]
    evidence.require(score != "none", "it has no such layer")
    evidence.record(measured(float(score)))
"""


@pytest.mark.parametrize(
    ("before", "now", "change", "code", "outcome", "options"),
    [
        ("none", "0.95", "newly measurable", 0, "passed", ()),
        ("none", "0.5", "newly measurable", 1, "failed", ()),  # as it would without a baseline
        ("none", "0.95", "newly measurable", 1, "failed", ("--probe-fail-on=newly-measurable",)),
        ("0.95", "none", "no longer measurable", 1, "failed", ()),
        ("0.95", "none", "no longer measurable", 0, "skipped", ("--probe-fail-on=lost",)),
        ("0.95", "0.9", "weakened", 1, "failed", ()),
        ("0.95", "0.9", "weakened", 0, "inconclusive", ("--probe-fail-on=lost",)),
        ("0.95", "0.5", "lost", 1, "failed", ("--probe-fail-on=lost",)),
        ("0.95", "0.5", "lost", 0, "xfailed", ("--probe-fail-on=none",)),
        ("0.5", "0.9", "gained", 0, "inconclusive", ()),
    ],
)
def test_each_change_has_its_outcome(project, monkeypatch, before, now, change, code, outcome, options):
    """What became of a claim is counted in the summary with the way to keep it, and fails where it is to fail."""
    project.use_stub()
    project.write(MOVES)
    monkeypatch.setenv("SCORE", before)
    project.run("--probe-update", models=())
    monkeypatch.setenv("SCORE", now)
    result = project.run(*options, models=())
    assert (result.ret, result.parseoutcomes()) == (code, {outcome: 1})
    lines = [f"verdicts that changed since the baseline: 1 {change}"]
    result.stdout.fnmatch_lines([*lines, "if the changed verdicts are right, keep them with --probe-update"])
    project.run("--probe-update", models=())
    assert project.run(*options, models=()).ret == 0


def test_an_unknown_change_is_refused(project):
    """--probe-fail-on names what there is, in one line."""
    result = project.run("--probe-fail-on=worse", models=())
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --probe-fail-on 'worse' is unknown; give any, none, or some of lost, *"]
    )


def test_known_inconclusive_passes_strict(project):
    """What is known to be inconclusive is no failure even under --probe-strict."""
    project.write('@claim("a")\ndef test_a(evidence):\n    evidence.record(measured(0.9))')
    assert project.run("--probe-strict", "--probe-update").ret == 1
    result = project.run("--probe-strict")
    assert result.ret == 0
    assert result.parseoutcomes() == {"inconclusive": 1}


def test_none_ignores_baselines(kept):
    """With --probe-baseline none a known refutation fails."""
    assert kept.run("--probe-baseline=none").ret == 1


def test_save_accepts_a_change(kept, monkeypatch):
    """Saving a changed verdict fails once more where it is to fail, and is what later runs are tested against."""
    monkeypatch.setenv("A", "0.95")
    result = kept.run("--probe-update", "--probe-fail-on=gained")
    result.assert_outcomes(failed=1, passed=2)
    assert "if the changed verdicts are right" not in result.stdout.str()
    result.stdout.fnmatch_lines(["tiny.json: kept 3 verdicts (0 new, 1 changed), 0 more as they were"])
    kept.run().assert_outcomes(passed=3)


def test_deselected_claims_keep_their_lines(kept, monkeypatch):
    """A run of some claims saves those and leaves the others as they were."""
    before = claims(kept)
    monkeypatch.setenv("A", "0.95")
    result = kept.run("--probe-update", "-k", "test_a")
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
    result = kept.run("--probe-update", *(["-x", "--probe-fail-on=any"] if stop == "-x" else []))
    result.stdout.fnmatch_lines(["no baseline was saved: the run was cut short"])
    assert kept.baseline().read_bytes() == before
    assert kept.reports()[-1]["partial"] is True


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ("threshold=0.8", "threshold of a changed since the baseline: 0.9 -> 0.8"),
        (
            "threshold=0.8, margin=0.2",
            "threshold of a changed since the baseline: 0.9 -> 0.8; margin of a changed since the baseline: 0.1 -> 0.2",
        ),
        ("alpha=0.01", "declared otherwise than in the baseline, and not compared with it: a"),
    ],
)
def test_moved_threshold_is_a_new_claim(kept, changes, line):
    """A claim declared otherwise is not covered by what the baseline says, and the run says what moved."""
    kept.write(TWO.replace('@claim("a")', f'@claim("a", {changes})'))
    result = kept.run()
    result.assert_outcomes(failed=1, passed=2)
    assert result.outlines.count(line) == 1
    (known,) = [each["known"] for each in kept.reports()[-1]["claims"] if each["claim"]["id"] == "a"]
    assert (known["compared"], known["outcome"], known["threshold"]) == ("nothing", "refuted", 0.9)


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
    monkeypatch.setenv("B", "0.5")
    result = kept.run(f"--probe-baseline={kept.baseline()}", models=(later,))
    result.assert_outcomes(xfailed=1, failed=2)


def test_other_seed_is_left_out(kept):
    """A baseline of another seed is left out; given by its file, it is refused with the seed that fits."""
    result = kept.run("--probe-seed=1")
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(
        ["the baseline of tiny was left out: it was measured with seed 0, this run has seed 1"]
    )
    result = kept.run("--probe-seed=1", f"--probe-baseline={kept.baseline()}")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --probe-baseline * measured with seed 0*: give --probe-seed 0"])


def test_each_model_has_its_own(kept, make_model):
    """A run over two models tests each against its own baseline and saves each to its own."""
    other = make_model("other", seed=1, num_key_value_heads=4)
    both = (kept.model, other)
    kept.run(models=both).assert_outcomes(xfailed=1, failed=1, passed=4)
    kept.run("--probe-update", models=both)
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
        assert line.endswith("; take it away and make it anew with --probe-update")


def test_failed_save_leaves_the_old_one(kept, monkeypatch):
    """A baseline that cannot be written is an error of one line; the old one stays whole, and nothing beside it."""
    before = kept.baseline().read_bytes()
    monkeypatch.setattr(Path, "replace", _no_space)
    result = kept.run("--probe-update")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: the baseline could not be written: *No space left on device*"])
    assert kept.baseline().read_bytes() == before
    assert [path.name for path in kept.baseline().parent.iterdir()] == ["tiny.json"]


def test_a_name_keeps_this_run(kept, make_model, monkeypatch):
    """--probe-save NAME keeps what this run found, and --probe-baseline NAME tests any version against it."""
    monkeypatch.setenv("A", "0.95")
    own = kept.baseline().read_bytes()
    result = kept.run("--probe-save=v1", "--probe-baseline=none")
    result.stdout.fnmatch_lines(["v1.json: kept 3 verdicts, a new baseline"])
    assert kept.baseline().read_bytes() == own
    saved = json.loads(kept.baseline("v1").read_text())
    assert (saved["schema_version"], saved["model"], saved["seed"]) == (4, "tiny", 0)
    assert saved["package"][0].isdigit()
    assert list(saved["claims"]["a"]) == [
        *("outcome", "alone", "score", "low", "high", "tokens", "p", "q"),
        *("claim_hash", "family", "threshold", "margin", "group_scores"),
    ]
    later = make_model("later", seed=1, num_key_value_heads=4)
    monkeypatch.setenv("A", "0.5")
    result = kept.run("--probe-baseline=v1", models=(later,))
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["if the changed verdicts are right, keep them with --probe-save NAME"])


def test_a_name_is_written_anew(kept):
    """A name may be saved again, but never loses a claim: a run of some claims is refused and leaves the file."""
    kept.run("--probe-save=v1", "--probe-baseline=none")
    result = kept.run("--probe-save=v1")
    result.stdout.fnmatch_lines(["v1.json: kept 3 verdicts, in place of what it held"])
    before = kept.baseline("v1").read_bytes()
    result = kept.run("--probe-save=v1", "-k", "test_a")
    assert result.ret == 4
    result.stdout.fnmatch_lines(
        [
            "ERROR: no baseline was saved: v1.json holds 2 claims that did not run (b[[]L3], b[[]embed-last]), and "
            "stays as it was: give --probe-save another name, or run them too"
        ]
    )
    assert kept.baseline("v1").read_bytes() == before


def test_a_stopped_run_is_not_saved(kept):
    """A run that was cut short is saved under no name."""
    result = kept.run("--probe-save=v1", "--probe-baseline=none", "-x")
    result.stdout.fnmatch_lines(["no baseline was saved: the run was cut short"])
    assert not kept.baseline("v1").exists()


def test_a_damaged_baseline_is_never_replaced(kept):
    """Where the old baseline cannot be read nothing is saved over it, and the run is still written."""
    kept.baseline().write_text("{")
    result = kept.run("--probe-update", "--probe-baseline=none")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: no baseline was saved: *tiny.json is no baseline: *"])
    assert kept.baseline().read_text() == "{"
    assert len(kept.reports()) == 2


def test_newer_schema_is_named(kept):
    """A baseline of a later version of the package is refused by name."""
    kept.baseline().write_text(
        kept.baseline().read_text().replace('"schema_version": 4', '"schema_version": 5')
    )
    result = kept.run()
    assert result.ret == 4
    pattern = "ERROR: baseline *tiny.json has schema 5, this version reads up to 4: update lazarus_probe"
    pytest.LineMatcher(result.errlines).fnmatch_lines([pattern])


def test_older_schema_is_read(kept):
    """A baseline of schema 1, which had verdicts and scores alone, still counts."""
    old = json.loads(kept.baseline().read_text())
    names = ("outcome", "score", "low", "high", "claim_hash")
    old["claims"] = {key: {name: known[name] for name in names} for key, known in old["claims"].items()}
    kept.baseline().write_text(json.dumps({**old, "schema_version": 1, "package": ""}))
    kept.run().assert_outcomes(xfailed=1, passed=2)


def test_known_numbers_reach_the_run(kept, monkeypatch):
    """run.json holds the baseline's verdict and numbers beside the new ones, and whether the difference is real."""
    monkeypatch.setenv("A", "0.54")
    result = kept.run()
    result.stdout.fnmatch_lines(
        [
            "a on tiny: still refuted, and its score moved by +0.04 [[]+0.01, +0.07[]] (q = 0.033 of 3 compared)"
        ]
    )
    (known,) = [each["known"] for each in kept.reports()[-1]["claims"] if each["claim"]["id"] == "a"]
    assert (known["outcome"], known["score"], known["compared"]) == ("refuted", 0.5, "outcome")
    assert known["difference"]["real"] is True
    assert known["difference"]["score"] == pytest.approx(0.04)


def test_a_baseline_damaged_during_the_run(kept):
    """A baseline that turns unreadable while claims run loses no number: the run is written and says so."""
    kept.write(
        f"{TWO}\ndef test_spoil(pytestconfig):\n    from lazarus_probe.plugin.baselines import baselines\n"
        f"    baselines(pytestconfig).cache.clear()\n    open({str(kept.baseline())!r}, 'w').write('[')\n"
    )
    result = kept.run()
    assert result.ret == 4
    result.stdout.fnmatch_lines(
        ["*= claims =*", "a * tiny * refuted *", "ERROR: *tiny.json is no baseline: *"]
    )
    assert len(kept.reports()[-1]["claims"]) == 3


def _no_space(self, target):
    raise OSError(28, "No space left on device", str(self))
