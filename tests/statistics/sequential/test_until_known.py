"""Rates over prompts that are run until the claim is decided, against `rate` on all of them."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.evidence import Evidence
from lazarus_probe.claims.verdict import claim_p, decide
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.sequential.mean_sequence import GRID
from lazarus_probe.statistics.sequential.until_known import rate_until_known

RNG = np.random.default_rng(0)
UNITS = np.repeat(np.arange(30), 2)

CLAIM = Claim(
    id="c", statement="s", source="a paper", family="f", kind="causal_sufficiency", threshold=0.6, margin=0.1,
    controls=("nothing",), minimum_groups=10,
)  # fmt: skip


def stream(score: np.ndarray, control: np.ndarray):
    """What measures some rows of a world, and a list of how many were asked for."""
    asked: list[int] = []

    def measure(rows):
        asked.append(len(rows))
        return score[rows], {"nothing": control[..., rows]}

    return measure, asked


def test_a_clear_claim_is_known_early():
    """Of 200 units that nearly all count a third or less is measured at the median, and the verdict is that of all."""
    used = []
    for seed in range(9):
        score = (np.random.default_rng(seed).random(200) < 0.97).astype(float)
        measure, _ = stream(score, np.zeros(200))
        known = Evidence(CLAIM, seed).is_known
        found = rate_until_known("share", np.arange(200), measure, known, seed=seed)
        whole = rate("share", score, np.arange(200), {"nothing": np.zeros(200)})
        assert decide(CLAIM, found).outcome == decide(CLAIM, whole).outcome
        used.append(found.groups)
    assert np.median(used) < 200 / 3


def test_without_an_answer_all_units_are_measured():
    """Where nothing is ever known every row is measured once, and the scores are those of all units."""
    score, control = RNG.random(60), RNG.random((3, 60))
    measure, asked = stream(score, control)
    found = rate_until_known("share", UNITS, measure, lambda _: False, together=7)
    whole = rate("share", score, UNITS, {"nothing": control})
    assert sum(asked) == found.n == 60
    assert (found.groups, found.details["of_units"]) == (30, 30)
    assert found.score == pytest.approx(whole.score)
    assert found.controls[0].score == pytest.approx(whole.controls[0].score)
    assert found.controls[0].spread == pytest.approx(whole.controls[0].spread)
    step = 1 / (GRID + 1)  # of the means that the sequence tries
    assert found.low - step <= whole.low <= whole.high <= found.high + step
    assert found.high - found.low > whole.high - whole.low


def supported_at_the_threshold(count: int, n: int) -> int:
    """How many of so many streams are supported at one of n looks, the mean of each being the threshold itself."""
    supported, rng = 0, np.random.default_rng(5)
    for seed in range(count):
        measure, _ = stream((rng.random(n) < CLAIM.threshold).astype(float), np.zeros(n))
        found = rate_until_known(
            "share", np.arange(n), measure, Evidence(CLAIM, 0).is_known, together=1, seed=seed
        )
        supported += decide(CLAIM, found).outcome == "supported"
    return supported


def test_streams_at_the_threshold_are_rarely_supported():
    """Of streams whose mean is the threshold itself at most a twentieth is supported at any look."""
    assert exact(supported_at_the_threshold(20, 60), 20).low <= 0.05


@pytest.mark.long
def test_a_thousand_streams_at_the_threshold_are_rarely_supported():
    """Of a thousand that are looked at after every one of 200 prompts at most a twentieth is ever supported."""
    supported = supported_at_the_threshold(1000, 200)
    print(f"{supported} of 1000 supported, {exact(supported, 1000)}")
    assert supported <= 50


def test_in_a_family_more_is_needed():
    """Among 40 cases of a family a claim is known when it stands in the whole family, after more prompts."""
    score = (np.random.default_rng(1).random(200) < 0.97).astype(float)
    used = []
    for family in (1, 40):
        measure, _ = stream(score, np.zeros(200))
        known = Evidence(CLAIM, 0, family_size=family).is_known
        measurement = rate_until_known("share", np.arange(200), measure, known, together=1)
        assert claim_p(CLAIM, measurement) <= CLAIM.alpha / family
        used.append(measurement.groups)
    assert used[0] < used[1] < 200


def test_without_a_rule_all_are_measured_as_by_rate():
    """Where nothing says when to stop the measurement is that of `rate`, in one call."""
    score, control = RNG.random(60), RNG.random((3, 60))
    measure, asked = stream(score, control)
    whole = rate_until_known(
        "share", UNITS, measure, None, costly={"more": lambda rows: control[:, rows]}, seed=4
    )
    assert asked == [60]
    assert whole == rate("share", score, UNITS, {"nothing": control, "more": control}, seed=4)


COSTLY = CLAIM.model_copy(update={"controls": ("nothing", "untrained")})


def test_costly_controls_wait_for_the_score():
    """Other models are run once the rest decides, on all prompts so far; their control is that of all these rows."""
    score, untrained, runs = np.ones(60), RNG.random((3, 60)) / 10, []

    def costly(rows):
        runs.append(len(rows))
        return untrained[:, rows]

    measure, asked = stream(score, np.zeros(60))
    known = Evidence(COSTLY, 0).is_known
    measurement = rate_until_known(
        "share", np.arange(60), measure, known, costly={"untrained": costly}, together=4
    )
    assert decide(COSTLY, measurement).outcome == "supported"
    assert (sum(asked), sum(runs)) == (measurement.groups, measurement.groups)
    assert runs[0] > 4
    order = np.random.default_rng(0).permutation(60)[: measurement.groups]
    assert measurement.controls[1].score == pytest.approx(untrained[:, order].mean())


def test_costly_controls_are_not_run_for_what_is_refuted():
    """What no control can change is known without them, and the measurement names those it left out."""

    def costly(_rows):
        raise AssertionError("other models were run")

    measure, _ = stream(np.zeros(60), np.zeros(60))
    measurement = rate_until_known(
        "share", np.arange(60), measure, Evidence(COSTLY, 0).is_known, costly={"untrained": costly}
    )
    assert decide(COSTLY, measurement).outcome == "refuted"
    assert measurement.unmeasured == ("untrained",)
    assert measurement.groups < 60


def test_costly_controls_are_measured_at_the_end():
    """Where nothing is known on all prompts every control is measured on all of them."""
    measure, asked = stream((np.arange(60) % 5 < 3).astype(float), np.zeros(60))
    measurement = rate_until_known(
        "share", np.arange(60), measure, Evidence(COSTLY, 0).is_known,
        costly={"untrained": lambda rows: np.zeros((3, len(rows)))},
    )  # fmt: skip
    assert sum(asked) == measurement.groups == 60
    assert [control.name for control in measurement.controls] == ["nothing", "untrained"]
    assert decide(COSTLY, measurement).outcome == "inconclusive"


def test_a_positive_control_gains_over_the_score_so_far():
    """For an absence the gain is the control's, as in `rate`."""
    measure, _ = stream(np.zeros(60), np.ones(60))
    found = rate_until_known("share", UNITS, measure, lambda _: False, positive=["nothing"])
    assert (found.controls[0].gain, found.controls[0].high) == (1, 1)


def test_what_cannot_be_stopped_is_named():
    """Units of several kinds, one unit, and scores of other rows are refused by name."""
    measure, _ = stream(np.zeros(60), np.ones(60))
    with pytest.raises(ValueError, match="units are of 2 kinds: give one kind"):
        rate_until_known("share", {"a": UNITS, "b": UNITS}, measure, lambda _: False)
    with pytest.raises(ValueError, match="1 units, 8 at a time"):
        rate_until_known("share", np.zeros(60), measure, lambda _: False)
    with pytest.raises(ValueError, match=r"control 'nothing' has shape \(1, 3\) for 60 rows"):
        rate_until_known(
            "share",
            UNITS,
            lambda rows: (np.zeros(len(rows)), {"nothing": [1, 2, 3]}),
            lambda _: False,
            together=30,
        )
    with pytest.raises(ValueError, match=r"the score has shape \(2,\) for 60 rows"):
        rate_until_known("share", UNITS, lambda _: ([0, 1], {}), lambda _: False, together=30)
