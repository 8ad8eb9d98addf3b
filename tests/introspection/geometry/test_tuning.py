"""Changes from a base to a tuned model: their numbers, their controls, and the null of two models that are peers."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.geometry.tuning import (
    Change,
    changed,
    form_cosines,
    probed,
    unchanged,
    widest,
)
from lazarus_probe.introspection.probing.probe import ProbeDataset

UNITS = np.arange(60)


def rates(seed, low, high):
    """Booleans of 60 rows at two rates."""
    rng = np.random.default_rng(seed)
    return Change(rng.random(60) < high, rng.random(60) < low, UNITS)


def test_a_gain_is_the_mean_difference(grouped):
    """Score, control and gain are plain differences of rates; p is small, and the base is named."""
    found, other = rates(0, 0.1, 0.9), rates(1, 0.5, 0.5)
    measured = changed(grouped, grouped, found, {"other": other}, "accuracy gained")
    assert measured.score == pytest.approx(found.tuned.mean() - found.base.mean())
    control = measured.controls[0]
    assert control.gain == pytest.approx(measured.score - other.difference.mean())
    assert control.low > 0.3
    assert measured.p < 0.001
    assert measured.details["base"]["fingerprint"] == grouped.fingerprint


def test_a_loss_has_the_other_sign(grouped):
    """The same change as a loss is its negative, and so is its control."""
    found, other = rates(0, 0.9, 0.1), rates(1, 0.9, 0.4)
    lost = changed(grouped, grouped, found, {"other": other}, "lost", loss=True)
    won = changed(grouped, grouped, found, {"other": other}, "won")
    assert lost.score == -won.score > 0
    assert lost.controls[0].gain == pytest.approx(-won.controls[0].gain)
    assert won.p > 0.99 > 0.001 > lost.p


def test_controls_of_other_rows_are_independent(grouped):
    """A control measured on other prompts has the wider interval of two independent estimates."""
    found, other = rates(0, 0.2, 0.8), rates(1, 0.5, 0.5)
    elsewhere = Change(other.tuned[:40], other.base[:40], [f"other {i}" for i in range(40)])
    measured = changed(grouped, grouped, found, {"here": other, "elsewhere": elsewhere}, "gained")
    here, there = measured.controls
    assert there.gain == pytest.approx(measured.score - elsewhere.difference.mean())
    assert there.high - there.low > here.high - here.low


def test_a_gain_may_be_twice_the_range(grouped):
    """Where one change is a gain and the other a loss, rows differ by 2, and the interval holds them."""
    up, down = rates(0, 0.0, 1.0), Change(np.zeros(60), np.ones(60), UNITS)
    control = changed(grouped, grouped, up, {"down": down}, "gained").controls[0]
    assert control.gain == control.high == 2
    assert 1.5 < control.low < 2


def test_scores_are_bounded():
    """A score outside [-1, 1] is refused; cosines are not."""
    with pytest.raises(ValueError, match="outside"):
        Change([2.0, 0.0], [0.0, 0.0], [0, 1])
    assert Change([-0.5, 0.0], [0.0, 0.0], [0, 1]).reach == 2


def test_peers_show_no_change(grouped):
    """Null: of 100 pairs of models that answer at one rate, about 5 reach p < .05."""
    false = sum(
        changed(grouped, grouped, rates(seed, 0.5, 0.5), {"c": rates(seed + 999, 0.5, 0.5)}, "").p < 0.05
        for seed in range(100)
    )
    assert false <= 11  # the upper 1% of a binomial of 100 trials at .05


def test_invariance_needs_a_change_that_is_seen(grouped):
    """The gain of a known change is how much further it goes than the claim's, whatever its direction."""
    still = Change(rates(0, 0.8, 0.8).tuned, rates(0, 0.8, 0.8).tuned, UNITS)
    gone = Change(np.zeros(60), still.base, UNITS)
    measured = unchanged(grouped, grouped, still, {"untrained": gone, "itself": still}, "gained")
    known, itself = measured.controls
    assert measured.score == 0
    assert known.gain == pytest.approx(still.base.mean())
    assert known.low > 0.5
    assert itself.gain == 0
    assert itself.high == pytest.approx(2 * (1 - 0.025 ** (1 / 60)), abs=0.01)  # none of 60 pairs differs


def test_the_widest_pair_of_peers_is_found():
    """Of several peers the best and the worst are taken, in that order."""
    peers = [np.full(4, value) for value in (0.5, 0.9, 0.2, 0.6)]
    found = widest(peers, np.arange(4))
    assert (found.tuned[0], found.base[0]) == (0.9, 0.2)
    with pytest.raises(ValueError, match="1 peers"):
        widest(peers[:1], np.arange(4))


def test_two_peers_rarely_exceed_the_widest_of_seven():
    """Null: the difference of two random models is above the range of seven others in at most 5% of draws."""
    drawn = np.random.default_rng(0).normal(size=(40000, 9))
    beyond = drawn[:, 0] - drawn[:, 1] > np.ptp(drawn[:, 2:], axis=1)
    assert beyond.mean() < 0.05


def test_rows_that_do_not_fit_are_refused(grouped):
    """Unequal lengths, one unit only, and a known change of other rows are named."""
    with pytest.raises(ValueError, match="2 rows of the tuned model, 1 of its base"):
        Change([1, 0], [1], [0, 1])
    with pytest.raises(ValueError, match="all of one unit"):
        Change([1, 0], [1, 0], [0, 0])
    with pytest.raises(ValueError, match="'other' is of other rows"):
        unchanged(grouped, grouped, rates(0, 0.5, 0.5), {"other": Change([1, 0], [1, 0], [0, 1])}, "")


def test_cosines_are_numpys(grouped):
    """Each cosine is NumPy's, of the last positions of the two prompts."""
    first, second = ["1 + 2 =", "12 * 3 ="], ["a cat is", "paris"]
    one, two = (
        collect(grouped, texts, [Site("resid_post", 2)])[Site("resid_post", 2)] for texts in (first, second)
    )
    expected = (one * two).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)
    assert form_cosines(grouped, first, second, 2) == pytest.approx(expected, abs=1e-5)


def test_probes_read_what_is_there_and_no_more(grouped):
    """A probe of the embedding reads the last token; labels that depend on nothing are read at chance."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), size=4)) for _ in range(60)]
    ends = [word + end for word in words for end in "+*"]
    known = ProbeDataset(ends, ["+", "*"] * 60, np.repeat(np.arange(60), 2))
    chance = ProbeDataset(ends, rng.permutation(["+", "*"] * 60), np.repeat(np.arange(60), 2))
    assert probed(grouped, known, Site("embed")).mean() == 1
    assert probed(grouped, chance, Site("embed")).mean() < 0.65
