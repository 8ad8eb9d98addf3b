from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.stats import norm

from lazarus_probe.statistics import implied_p, power_of, required_groups, required_n


@pytest.mark.parametrize(("n", "effect", "baseline"), [(16, 0.7, 0.5), (40, 0.45, 1 / 3), (25, 0.3, 0.6)])
def test_power_agrees_with_counting(n, effect, baseline):
    """Power is the chance of the outcomes that scipy's one-sided binomial test rejects."""
    side = "greater" if effect > baseline else "less"
    rejected = [k for k in range(n + 1) if stats.binomtest(k, n, baseline, side).pvalue <= 0.05]
    expected = sum(stats.binom.pmf(k, n, effect) for k in rejected)
    assert power_of(n, effect, baseline) == pytest.approx(expected)


def test_sixteen_trials_are_too_few():
    """Sixteen trials miss .7 against .5 more often than not; 42 find it four times in five."""
    assert power_of(16, 0.7, 0.5) < 0.5
    assert required_n(0.7, 0.5) == 42


@pytest.mark.parametrize(
    ("effect", "baseline", "power"), [(0.7, 0.5, 0.9), (0.2, 0.25, 0.8), (1.0, 0.5, 0.8)]
)
def test_required_n_is_the_last_crossing(effect, baseline, power):
    """From the n returned on the power holds, and one trial fewer does not have it."""
    n = required_n(effect, baseline, power=power)
    assert all(power_of(m, effect, baseline) >= power for m in range(n, n + 60))
    assert power_of(n - 1, effect, baseline) < power


def test_questions_without_an_answer_are_refused():
    """No effect, tiny effects and numbers out of range raise and say why."""
    with pytest.raises(ValueError, match="no number of trials"):
        required_n(0.5, 0.5)
    with pytest.raises(ValueError, match="more than a million"):
        required_n(0.5001, 0.5)
    with pytest.raises(ValueError, match="must be proportions"):
        power_of(10, 1.2, 0.5)
    with pytest.raises(ValueError, match="power is 80"):
        required_n(0.7, 0.5, power=80)
    with pytest.raises(ValueError, match="alpha is 5"):
        power_of(10, 0.7, 0.5, alpha=5)
    with pytest.raises(ValueError, match="at least one trial"):
        power_of(0, 0.7, 0.5)


def test_p_is_read_off_the_interval():
    """The p of a normal mean against a null is that of its z test, on either side of the null."""
    for mean in (0.3, -0.2, 0.1):
        p = implied_p(mean, mean - 1.96 * 0.1, mean + 1.96 * 0.1, null=0.1)
        assert p == pytest.approx(norm.sf((mean - 0.1) / 0.1), rel=1e-3)
    assert implied_p(0.5, 0.4, 0.6, null=0.4) == pytest.approx(0.025)
    assert (implied_p(0.9, 0.9, 0.9, null=0.9), implied_p(0.8, 0.8, 0.8, null=0.9)) == (0.0, 1.0)


def test_required_groups_are_enough():
    """With the number of groups that is asked for, a simulated interval clears the threshold as often as promised."""
    rng = np.random.default_rng(0)
    spread = 0.4
    reach = 1.96 * spread / np.sqrt(16)
    needed = required_groups(16, reach, effect=0.7, threshold=0.5)
    means = rng.normal(0.7, spread, size=(4000, needed)).mean(axis=1)
    cleared = (means - 1.96 * spread / np.sqrt(needed) >= 0.5).mean()
    assert 0.78 < cleared < 0.84
    assert required_groups(16, reach, effect=0.5, threshold=0.5) is None
    assert required_groups(16, 0.0, effect=0.7, threshold=0.5) is None
