"""The other model of a tuned pair: where it comes from, and what is said where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

CLAIM = """
    @claim("pair", needs=["tuned pair"])
    def test_pair(subject, base, evidence):
        evidence.record(measured(0.95, details={"base": base.name}))
    """


@pytest.fixture(scope="module")
def early(make_model: Callable[..., Path]) -> Path:
    """What `tiny` could have been tuned from: of its sizes, with other weights."""
    return make_model("early", seed=1, num_hidden_layers=2, num_key_value_heads=4, tie_word_embeddings=True)


def only(project: Any) -> dict[str, Any]:
    """The claim of the one run that was written."""
    (run,) = project.reports()
    (claim,) = run["claims"]
    return claim


def test_a_base_is_loaded_and_named(project, early):
    """`--probe-base` gives the test its model, and the report names it with its fingerprint."""
    project.write(CLAIM)
    project.run(f"--probe-base={early}").assert_outcomes(passed=1)
    claim = only(project)
    assert claim["measurement"]["details"]["base"] == "early"
    (rests_on,) = claim["requirements"]
    assert rests_on.startswith("tuned from early (fingerprint ")
    assert claim["model"]["fingerprint"][:12] not in rests_on


def test_without_a_base_the_claim_does_not_apply(project):
    """Without one the claim is skipped as not applicable, and the reason says which option gives one."""
    project.write(CLAIM)
    project.run().assert_outcomes(skipped=1)
    claim = only(project)
    assert claim["outcome"] == "not applicable"
    assert claim["reason"].endswith("give the model it was tuned from with --probe-base MODEL")


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        (
            {"num_hidden_layers": 2, "num_key_value_heads": 4, "tie_word_embeddings": True},
            "is the model itself",
        ),
        ({"num_hidden_layers": 3}, "is another architecture (3 layers of width 32)"),
    ],
)
def test_what_is_no_pair_is_said(project, make_model, sizes, reason):
    """The model itself, and a model of another architecture, make no pair."""
    project.write(CLAIM)
    project.run(f"--probe-base={make_model('other', **sizes)}").assert_outcomes(skipped=1)
    assert reason in only(project)["reason"]


def test_a_base_that_cannot_be_found_is_refused(project):
    """A name that means nothing ends the run before anything is tested, in one line."""
    project.write(CLAIM)
    result = project.run("--probe-base=nosuch")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --probe-base nosuch: *"])


def test_the_bundled_model_has_a_base(project):
    """The organism is held against its early checkpoint unless another base is given."""
    project.write(CLAIM)
    project.run(models=("organism",)).assert_outcomes(passed=1)
    assert only(project)["measurement"]["details"]["base"] == "organism-early"


def test_a_base_is_loaded_once(project, early):
    """Two claims of one run share the model."""
    project.write(
        """
        seen = []

        @claim("one")
        def test_one(base, evidence):
            seen.append(base)
            evidence.record(measured(0.95))

        @claim("two")
        def test_two(base, evidence):
            seen.append(base)
            evidence.record(measured(0.95))

        def test_shared():
            assert len(seen) == 2
            assert seen[0] is seen[1]
        """
    )
    project.run(f"--probe-base={early}").assert_outcomes(passed=3)
