from __future__ import annotations

from itertools import product

import pytest

from lazarus_probe.claims.change import CHANGES, WORSE, change_of, read_changes, written
from lazarus_probe.claims.verdict import Outcome

S, U, C, R, N = (
    Outcome(name) for name in ("supported", "inconclusive", "confounded", "refuted", "not applicable")
)


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        (S, R, "lost"),
        (S, C, "lost"),
        (S, U, "weakened"),
        (U, C, "weakened"),
        (U, R, "weakened"),
        (C, R, "weakened"),
        (R, S, "gained"),
        (U, S, "gained"),
        (R, C, "gained"),
        (R, U, "gained"),
        (N, S, "newly measurable"),
        (N, R, "newly measurable"),
        (S, N, "no longer measurable"),
        (R, N, "no longer measurable"),
    ],
)
def test_each_change_has_a_direction(before, now, change):
    """What became of a claim is named by where it went."""
    assert change_of(before, now) == change


def test_every_pair_is_a_change_and_its_reverse_another():
    """Two verdicts that differ are a change, the way back is another one, and only one of the two is worse."""
    for before, now in product(Outcome, Outcome):
        change, back = change_of(before, now), change_of(now, before)
        assert (change is None) == (before == now)
        if change and back:
            assert (change in WORSE) != (back in WORSE)


@pytest.mark.parametrize("changes", [frozenset(), WORSE, frozenset({"gained"}), frozenset(CHANGES)])
def test_what_an_option_takes_comes_back(changes):
    """Changes as written are read as the same."""
    assert read_changes(written(changes), "--fail-on") == changes


@pytest.mark.parametrize("text", ["", "worse", "lost,", "lost;weakened"])
def test_an_unknown_change_is_named(text):
    """What is no change is refused with the option and all there are."""
    with pytest.raises(
        ValueError,
        match=r"^--fail-on '.*' is unknown; (did you mean \w+\? )?give any, none, or some of lost, weakened, ",
    ):
        read_changes(text, "--fail-on")


@pytest.mark.parametrize(
    "text", ["Lost", " LOST ,gained", "no longer measurable", "no_longer_measurable", "ANY"]
)
def test_a_change_is_read_in_each_spelling(text):
    """Case, and what joins two words, do not matter."""
    plain = ",".join(name.strip().replace("_", "-").replace(" ", "-") for name in text.lower().split(","))
    assert read_changes(text, "--fail-on") == read_changes(plain, "--fail-on")


@pytest.mark.parametrize("text", ["any,lost", "none,lost"])
def test_all_and_none_stand_alone(text):
    """What contradicts itself is refused in words of its own."""
    with pytest.raises(ValueError, match=f"'{text}' has (any|none) with others: give it alone, or "):
        read_changes(text, "--fail-on")
