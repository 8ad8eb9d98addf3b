"""Costly controls are measured where a verdict can depend on them, and nowhere else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.statistics.rates import rate

CLAIM = Claim(
    id="c",
    statement="s",
    source="p",
    family="f",
    kind="decodability",
    threshold=0.7,
    margin=0.3,
    controls=("untrained",),
)


def measured(score, claim, compute):
    """A rate of twenty prompts, with a control of three models that `compute` gives."""

    def measure(controls, left_out):
        return rate("accuracy", np.full(20, score), range(20), controls, unmeasured=left_out)

    return as_needed(claim, measure, {"untrained": compute})


def test_a_refuted_claim_takes_no_costly_control():
    """What misses the threshold is refuted without the control, which is named."""

    def compute():
        raise AssertionError("computed")

    measurement = measured(0.0, CLAIM, compute)
    assert measurement.unmeasured == ("untrained",)
    assert judge(CLAIM, measurement).outcome is Outcome.REFUTED


@pytest.mark.parametrize(("score", "claim"), [(1.0, CLAIM), (0.0, None)])
def test_all_else_is_measured(score, claim):
    """Where the control decides, or no claim is given, it is measured."""
    measurement = measured(score, claim, lambda: np.zeros((3, 20)))
    assert [control.name for control in measurement.controls] == ["untrained"]
    assert not measurement.unmeasured


@pytest.mark.parametrize(
    ("reached", "computed"), [(0.9, ["untrained"]), (0.0, ["untrained", "new_blocks", "permuted_blocks"])]
)
def test_a_claim_confounded_by_one_control_takes_no_further_one(reached, computed):
    """Controls come one after the other; the outcome is that of all of them."""
    kinds = ("untrained", "new_blocks", "permuted_blocks")
    claim, calls = CLAIM.model_copy(update={"controls": kinds}), []

    def compute(kind):
        calls.append(kind)
        return np.full((3, 20), reached if kind == "untrained" else 0.0)

    def measure(controls, left_out):
        return rate("accuracy", np.full(20, 1.0), range(20), controls, unmeasured=left_out)

    costly = {kind: partial(compute, kind) for kind in kinds}
    one_by_one, all_at_once = as_needed(claim, measure, costly), as_needed(None, measure, costly)
    assert judge(claim, one_by_one).outcome is judge(claim, all_at_once).outcome
    assert calls[:-3] == computed
    assert one_by_one.unmeasured == kinds[len(computed) :]


def test_a_score_alone_takes_no_costly_control():
    """Where scores alone are wanted, what would decide a claim is not computed, and nothing is said of the claim."""

    def compute():
        raise AssertionError("computed")

    claim = CLAIM.of_scores_only()
    verdict = judge(claim, measured(1.0, claim, compute))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason.endswith(", without its controls; not run, scores only: untrained")
    assert judge(claim, measured(0.0, claim, compute)).outcome is Outcome.REFUTED
    assert claim.hash == CLAIM.hash
    assert not CLAIM.scores_only


def test_what_a_claim_does_not_declare_is_not_computed():
    """A claim that faces one kind of model does not pay for the others."""

    def compute():
        raise AssertionError("computed")

    def measure(controls, left_out):
        return rate("accuracy", np.full(20, 1.0), range(20), controls, unmeasured=left_out)

    measurement = as_needed(
        CLAIM,
        measure,
        {"untrained": lambda: np.zeros((3, 20)), "new_blocks": compute},
        {"chance": np.zeros(20)},
    )
    assert [control.name for control in measurement.controls] == ["chance", "untrained"]
    assert judge(CLAIM, measurement).outcome is Outcome.SUPPORTED


def test_declared_parts_are_computed():
    """What a circuit must be beyond faithful is declared beside its controls, and measured with them."""
    parts = {"minimality": 0.5, "stability": 0.33}
    claim = CLAIM.model_copy(update={"kind": "circuit", "parts": parts})
    computed = []

    def measure(controls, left_out):
        computed.append(sorted(controls))
        named = {name: values for name, values in controls.items() if name not in parts}
        return rate("accuracy", np.full(20, 1.0), range(20), named, unmeasured=left_out)

    costly = {
        name: lambda: np.zeros((3, 20)) for name in ("minimality", "stability", "untrained", "new_blocks")
    }
    as_needed(claim, measure, costly, {"chance": np.zeros(20)})
    assert computed[-1] == ["chance", "minimality", "stability", "untrained"]
