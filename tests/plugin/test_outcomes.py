from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

ONE = """
@claim("c")
def test_c(evidence):
    {body}
"""
REFUTED = "refuted: accuracy 0.50 [0.48, 0.52], at least 0.9 was claimed"
CONFOUNDED = "confounded: majority reaches 0.94 and the model's gain over it is 0.01 [-0.02, 0.04]*"


def run(project, body, *arguments):
    project.write(ONE.format(body=body))
    return project.run(*arguments)


def test_supported_passes(project):
    """A supported claim is a passed test."""
    result = run(project, "evidence.record(measured(0.95))")
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["c * tiny * supported * 0.95 * [[]0.93, 0.97[]] * majority 0.45*"])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("evidence.record(measured(0.5))", REFUTED.replace("[", "[[]", 1)),
        ("evidence.record(measured(0.95, gain=0.01))", CONFOUNDED.replace("[", "[[]", 1)),
    ],
)
def test_refuted_and_confounded_fail(project, body, sentence):
    """A refuted or confounded claim fails with one sentence, once, and without a traceback."""
    result = run(project, body)
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([sentence])
    assert "def test_c" not in result.stdout.str()
    outcome = sentence.partition(" accuracy")[0].partition(" majority")[0]
    whole = [line for line in result.outlines if line.startswith(outcome)]
    assert len(whole) == 1


def test_inconclusive_has_its_own_category(project):
    """An inconclusive claim is neither passed nor failed, and its sentence stands under the table."""
    result = run(project, "evidence.record(measured(0.9))")
    assert result.ret == 0
    assert result.parseoutcomes() == {"inconclusive": 1}
    sentence = "c on tiny: inconclusive: accuracy 0.90 [0.88, 0.92] straddles the threshold, at least 0.9; "
    assert len([line for line in result.outlines if line.startswith(sentence)]) == 1


def test_strict_fails_the_inconclusive(project):
    """Under --probe-strict an inconclusive claim is a failure, and its sentence is said once."""
    result = run(project, "evidence.record(measured(0.95, groups=3))", "--probe-strict")
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    said = [line for line in result.outlines if "3 independent groups, 10 are needed" in line]
    first, *others = said
    assert first.startswith("inconclusive: 3 independent groups, 10 are needed; ")
    assert first.endswith(" (a failure under --probe-strict)")
    assert all(line.startswith("FAILED") for line in others)


def test_not_applicable_skips(project):
    """A claim whose precondition fails is skipped with the reason, and the rest of its test does not run."""
    result = run(project, 'evidence.require(False, "answers 0.1; 0.9 needed"); assert False', "-rs")
    assert result.ret == 0
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        ["c on tiny: not applicable: answers 0.1; 0.9 needed", "SKIPPED*answers 0.1*"]
    )


def test_precondition_in_a_fixture_skips(project):
    """A precondition may also be stated in a fixture."""
    project.write("""
        @pytest.fixture
        def known(evidence):
            evidence.require(False, "answers 0.1; 0.9 needed")

        @claim("c")
        def test_c(evidence, known):
            evidence.record(measured(0.95))
    """)
    result = project.run()
    result.assert_outcomes(skipped=1)
    assert project.reports()[0]["claims"][0]["outcome"] == "not applicable"


def test_precondition_that_holds_is_reported(project):
    """A precondition that holds is kept beside the verdict."""
    run(project, 'evidence.require(True, "answers 0.98; 0.9 needed"); evidence.record(measured(0.95))')
    assert project.reports()[0]["claims"][0]["requirements"] == ["answers 0.98; 0.9 needed"]


def test_broken_test_is_no_verdict(project):
    """An assertion that fails in a claim's test is pytest's own failure, traceback and all, and no verdict."""
    result = run(project, "evidence.record(measured(0.95)); assert 1 == 2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*def test_c*", "E*assert 1 == 2", "report: reports/*-tiny"])
    (report,) = project.reports()
    assert report["claims"] == []
    assert report["broken"] == [
        {"test": "test_claims.py::test_c[tiny]", "error": "assert 1 == 2", "claim": "c", "model": "tiny"}
    ]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("pass", "claim 'c': the test ended without evidence.record(...)"),
        (
            "evidence.record(measured(0.95)); evidence.record(measured(0.95))",
            "test_claims.py:*: claim 'c' recorded twice: parametrise the test instead",
        ),
        (
            'evidence.record(measured(0.95, controls=(Control("twin", 0.1, 0.8, 0.7, 0.9),)))',
            "claim 'c' declares controls that were not measured: majority",
        ),
        (
            "evidence.record(measured(float('nan'), gain=0.1))",
            "test_claims.py:*: control 'majority' has score nan: give a finite number*",
        ),
        (
            "from lazarus_probe.statistics.intervals import wilson; wilson(3, 2)",
            "test_claims.py:*: successes is 3: it must lie in 0..2, the number of trials",
        ),
    ],
)
def test_misuse_fails_in_one_line(project, body, line):
    """What this package refuses in a claim's test is a failure of one line, and --full-trace shows the rest."""
    result = run(project, body)
    assert result.ret == 1
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line])
    assert not [line for line in result.outlines if line.startswith(("E ", ">"))]
    (report,) = project.reports()
    assert report["claims"] == []
    (broken,) = report["broken"]
    assert line.partition(":*: ")[2].rstrip("*") in broken["error"]
    if "test_claims.py" in line:
        result = run(project, body, "--full-trace")
        result.stdout.fnmatch_lines(["*def test_c*", "E*"])


def test_errors_of_others_keep_their_traceback(project):
    """A ValueError of the test itself, or of a library, is shown as pytest shows it."""
    for body in ("raise ValueError('mine')", "import numpy; numpy.zeros(3).reshape(2)"):
        result = run(project, body)
        result.stdout.fnmatch_lines(["*def test_c*", "E*ValueError: *"])


def test_tests_beside_claims_are_left_alone(project):
    """A test that decides no claim passes, fails and shows its errors as ever, also where it uses the model."""
    project.write("""
        def test_plain():
            pass

        def test_subject(subject):
            assert subject.num_layers == 2

        def test_error(subject):
            from lazarus_probe.statistics.intervals import wilson
            wilson(3, 2)
    """)
    result = project.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*def test_error*", "E*ValueError: successes is 3*"])
    assert "= claims =" not in result.stdout.str()


def test_sentences_are_not_lost_without_failures_section(project):
    """With --tb=no the sentence of a refuted claim stands under the table."""
    result = run(project, "evidence.record(measured(0.5))", "--tb=no")
    assert f"c on tiny: {REFUTED}" in result.outlines


def test_fixtures_for_claims(project):
    """The untrained model, hooks, activations and generator belong to the model, the claim and the seed."""
    project.write("""
        @claim("c")
        def test_c(subject, twin, hooks, activations, evidence, rng):
            assert twin.num_layers == 2 and twin.fingerprint != subject.fingerprint
            assert (hooks("ab", capture="resid_post.1").logits == hooks("ab").logits).all()
            (kept,) = activations.get(subject, ["ab"], ["resid_post.1"]).values()
            (again,) = activations.get(subject, ["ab"], ["resid_post.1"]).values()
            assert (kept == again).all()
            print("drawn", rng.integers(10**9), evidence.seed)
            evidence.record(measured(0.95))
    """)
    drawn = []
    for seed in ("1", "1", "2"):
        result = project.run("-s", f"--probe-seed={seed}")
        result.assert_outcomes(passed=1)
        drawn += [line.partition("drawn")[2] for line in result.outlines if "drawn" in line]
    assert drawn[0] == drawn[1] != drawn[2]
