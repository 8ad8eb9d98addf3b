"""Makes the worlds, which lie beside the tests, importable, and ends a run with the table of their rates."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rates import ALPHA, Rate, line

HEAD = ("world", "guard", "draws", "wrong with it", "wrong without it")
RATES = "rates of a world"


@pytest.fixture(autouse=True)
def _curves_of_users(full_learning_curves: None) -> None:
    """Verdicts are counted as users get them: a refutation asks its learning curve."""


@pytest.fixture
def compared(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Holds the rates of a world against each other, and writes them in the table."""

    # With many draws, what comes with the guard is known well enough to be what the loss is held against.
    def compare(world: str, guard: str, kept: Rate, lost: Rate | None = None) -> None:
        record_property(RATES, line(world, guard, kept, lost))
        print(f"{world}; with {guard}: {kept}; without: {lost}")
        assert kept.allowed
        if lost is not None:
            assert not lost.allowed
            assert lost.interval.low > min(ALPHA, kept.interval.high)

    return compare


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write the table of all worlds that ran, whether they passed or failed, and in whatever process."""
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.stats.get(outcome, [])]
    rows = [row for each in reports for name, row in each.user_properties if name == RATES]
    if rows:
        terminalreporter.section("wrong verdicts in worlds of which the truth is known")
        for row in (HEAD, *sorted(map(tuple, rows))):
            terminalreporter.write_line(f"| {' | '.join(row)} |")
