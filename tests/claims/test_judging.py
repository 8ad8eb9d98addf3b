"""Many tests at once: what is supported alone may not be among them."""

from __future__ import annotations

from dataclasses import replace

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_layers, judge_together, q_values, verdict_data
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.statistics.measurement import Control, Measurement

CLAIM = Claim(
    id="test",
    statement="a",
    source="b",
    kind="decodability",
    threshold=0.5,
    controls=("majority",),
)
CLEAR = Measurement(0.9, 0.85, 0.95, 200, 50, "accuracy", (Control("majority", 0.5, 0.4, 0.3, 0.5),), p=0.04)
NOTHING = replace(CLEAR, score=0.5, low=0.4, high=0.6, p=0.8)


def test_a_finding_alone_is_none_among_many():
    """With p = .04 one test is supported, and beside nineteen of nothing it is inconclusive and says why."""
    assert judge_together({"one": (CLAIM, CLEAR)})["one"].outcome is Outcome.SUPPORTED
    many = {"one": (CLAIM, CLEAR)} | {f"other {i}": (CLAIM, NOTHING) for i in range(19)}
    found = judge_together(many)
    assert found["one"].outcome is Outcome.INCONCLUSIVE
    assert found["one"].reason.startswith("supported alone, but q = 0.8 among 20 tests; accuracy 0.90 [")
    assert {name: verdict for name, verdict in found.items() if name != "one"} == {
        name: judge(*test) for name, test in many.items() if name != "one"
    }


def test_a_refutation_alone_is_none_among_many():
    """A score just below the threshold is refuted alone, and beside nineteen of nothing it is inconclusive."""
    below = replace(CLEAR, score=0.4, low=0.31, high=0.49)
    assert judge_together({"one": (CLAIM, below)})["one"].outcome is Outcome.REFUTED
    many = {"one": (CLAIM, below)} | {f"other {i}": (CLAIM, NOTHING) for i in range(19)}
    assert judge_together(many)["one"].reason.startswith("refuted alone, but q = ")
    far = replace(CLEAR, score=0.1, low=0.05, high=0.15)
    assert judge_together(many | {"two": (CLAIM, far)})["two"].outcome is Outcome.REFUTED


def test_what_gave_no_number_counts_among_the_tests():
    """Tests that were tried and gave nothing are part of the family."""
    assert judge_together({"one": (CLAIM, CLEAR)}, untested=19)["one"].outcome is Outcome.INCONCLUSIVE
    q = q_values({"one": (CLAIM, CLEAR)}), q_values({"one": (CLAIM, CLEAR)}, untested=19)
    assert q[1]["one"] == 20 * q[0]["one"]


def test_layers_are_judged_together():
    """The verdict at each layer is the one among all layers, and those that are supported are named."""
    claim = declared("subspace-carries-the-variable")
    controls = tuple(Control(name, 0.5, 0.4, 0.3, 0.5) for name in claim.controls)
    clear, nothing = (replace(measurement, controls=controls, p=None) for measurement in (CLEAR, NOTHING))
    measured = {1: nothing, 4: clear, 6: nothing}
    judged = judge_layers(claim.id, measured)
    together = judge_together({str(layer): (claim, at_layer) for layer, at_layer in measured.items()})
    assert list(judged.verdicts.values()) == list(together.values())
    assert judged.supported == (4,)
    assert judged.as_data()["L4"] == verdict_data(claim, together["4"])
