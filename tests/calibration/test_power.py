"""The table of power is what its script writes, and at the threshold itself power is no more than alpha."""

from __future__ import annotations

import numpy as np
import power
import pytest
from power import World
from scipy.stats import binom

from lazarus_probe.claims.verdict import Outcome, decide

ALPHA = 0.05
COUNTS = (5, 8, 12, 20, 30, 40, 60)
AT_THRESHOLD = [
    *(World("decodability", "rate", share, share, 0.0, 0.01) for share in (0.5, 0.7, 0.9)),
    *(World("absence", "rate", share, share, 1.0, 0.01) for share in (0.05, 0.1, 0.2)),
    *(World("invariance", "change", share, share, 1.0, 0.01) for share in (0.05, 0.1, 0.2)),
    *(World("training_effect", "runs", share, share, 0.0, 0.01) for share in (0.5, 0.8)),
]


def chance_of_support(world: World, groups: int) -> float:
    """Summed over every outcome there can be, by its binomial probability: no simulation."""
    all_or_none = groups if world.control else 0
    measured = {
        "rate": lambda k: power._of_counts(
            world.kind == "absence", groups, k, all_or_none, min(k, all_or_none)
        ),
        "change": lambda k: power._of_change(groups, k, groups),
        "runs": lambda k: power._of_runs(groups, k),
    }[world.shape]
    chances = binom.pmf(np.arange(groups + 1), groups, world.effect).tolist()
    return sum(
        chance
        for k, chance in enumerate(chances)
        if chance > 1e-6 and decide(world.claim, measured(k)).outcome is Outcome.SUPPORTED
    )


@pytest.mark.parametrize("world", AT_THRESHOLD, ids=lambda world: f"{world.kind}-{world.threshold}")
def test_at_the_threshold_support_is_no_likelier_than_alpha(world):
    """A claim that is exactly at its threshold is supported at most a share alpha of the time."""
    chances = [chance_of_support(world, groups) for groups in COUNTS]
    print(world.kind, world.threshold, dict(zip(COUNTS, np.round(chances, 4).tolist(), strict=True)))
    assert max(chances) <= ALPHA


@pytest.mark.parametrize("world", [power.WORLDS[i] for i in (0, 7, 13)], ids=lambda world: world.kind)
def test_the_table_is_what_the_script_writes(world):
    """A row of docs/power.md, reckoned again, is the same."""
    assert power.row(world) in power.DOCS.read_text().splitlines()


def test_power_grows_with_groups_and_effect():
    """More groups, or a larger effect, find more."""
    few, more = (power.power(power.WORLDS[1], groups, 100) for groups in (20, 160))
    larger = power.power(power.WORLDS[0], 20, 100)
    assert few < more
    assert few < larger
