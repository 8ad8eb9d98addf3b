"""Rates and their gains, against plain means and the intervals of the statistics package."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.evidence import Evidence
from lazarus_probe.claims.verdict import decide
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.model_spread import model_spread
from lazarus_probe.statistics.rates import rate, rate_until_known

RNG = np.random.default_rng(0)
UNITS = np.repeat(np.arange(30), 2)


def test_a_rate_has_the_interval_of_a_proportion():
    """What holds or does not has the interval of a proportion, and gains that of paired rows."""
    score, other = RNG.random(60) < 0.8, RNG.random(60) < 0.3
    found = rate("share", score, UNITS, {"other": other}, seed=3, tokens=5)
    interval = proportion_interval(score, UNITS, seed=3)
    assert (found.score, found.low, found.high) == (score.mean(), interval.low, interval.high)
    assert found.controls[0] == paired_control("other", score, other, UNITS, 3)
    assert (found.n, found.groups, found.tokens) == (60, 30, 5)


def test_a_positive_control_gains_over_the_score():
    """For an absence the gain is the control's."""
    score, other = np.zeros(60), np.ones(60)
    found = rate("share", score, UNITS, {"other": other}, positive=["other"])
    assert found.controls[0].gain == 1


def test_scores_of_either_sign_may_differ_by_two():
    """With a bound of 2 intervals are those of half the numbers, doubled."""
    score, other = RNG.uniform(-1, 1, 60), RNG.uniform(-1, 1, 60)
    found = rate("difference", score, UNITS, {"other": other}, bound=2)
    half = paired_interval((score - other) / 2, UNITS)
    assert found.controls[0].low == pytest.approx(2 * half.low)
    with pytest.raises(ValueError, match="lies outside 0 to 1"):
        rate("difference", score, UNITS, {"other": -score})


def test_equal_scores_keep_an_interval():
    """Probabilities that are all 1 could still be less on prompts not seen."""
    found = rate("probability", np.full(60, 0.999), UNITS, {"other": np.zeros(60)})
    assert found.low < 0.95


def test_several_models_are_one_control():
    """The gain over several models is over their mean, and its interval reaches as far as one more model may fall."""
    score, units = np.ones(60), np.repeat(np.arange(30), 2)
    models = np.zeros((5, 60))
    models[:, :10] = np.array([0, 1, 0, 1, 0])[:, None]
    several = rate("share", score, units, {"untrained": models}).controls[0]
    pooled = rate("share", score, units, {"untrained": models.mean(axis=0)}).controls[0]
    assert several.gain == pytest.approx(pooled.gain)
    reach = model_spread(models.mean(axis=1).tolist())
    assert several.low == pytest.approx(several.gain - np.hypot(pooled.gain - pooled.low, reach))
    with pytest.raises(ValueError, match="give at least 3"):
        rate("share", score, units, {"untrained": models[:2]})


def test_no_prompts_are_refused():
    """A rate of nothing is none."""
    with pytest.raises(ValueError, match="no prompts to take the share of"):
        rate("share", [], [], {"other": []})


def test_damage_is_kept():
    """What an edit does to unrelated prompts goes with the measurement."""
    hurt = Damage("answers lost", 0.2, 0.1, 0.3, 20)
    assert rate("share", np.ones(60), UNITS, {"other": np.zeros(60)}, damage=hurt).damage == hurt


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
    assert found.low <= whole.low <= whole.high <= found.high


def test_streams_at_the_threshold_are_rarely_supported():
    """Of streams whose mean is the threshold itself at most a twentieth is supported at any look."""
    supported, rng = 0, np.random.default_rng(5)
    for seed in range(20):
        measure, _ = stream((rng.random(60) < CLAIM.threshold).astype(float), np.zeros(60))
        found = rate_until_known(
            "share", np.arange(60), measure, Evidence(CLAIM, 0).is_known, together=1, seed=seed
        )
        supported += decide(CLAIM, found).outcome == "supported"
    assert exact(supported, 20).low <= 0.05


def test_a_positive_control_gains_over_the_score_so_far():
    """For an absence the gain is the control's, as in `rate`."""
    measure, _ = stream(np.zeros(60), np.ones(60))
    found = rate_until_known("share", UNITS, measure, lambda _: False, positive=["nothing"])
    assert (found.controls[0].gain, found.controls[0].high) == (1, 1)


def too_few(rows):
    return np.zeros(len(rows)), {"nothing": [1, 2, 3]}


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
