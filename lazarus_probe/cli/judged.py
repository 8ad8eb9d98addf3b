"""Verdicts on all that one command tests at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.statistics.measurement import Measurement


def judge_together(tests: Mapping[str, tuple[Claim, Measurement]]) -> dict[str, Verdict]:
    """Judge every test, and make inconclusive what is supported alone but not among so many.

    Layers that are read side by side are looked at for the best of them, so all tests of a command are one family, in
    which the rate of false discoveries is held (Benjamini & Hochberg 1995).

    Args:
        tests: by name, what would have to hold, and what was measured.

    Raises:
        ClaimError: a control that a claim wants was not measured.
    """
    from lazarus_probe.claims.verdict import Outcome, Verdict, claim_p, judge
    from lazarus_probe.statistics import benjamini_hochberg

    alone = {name: judge(*test) for name, test in tests.items()}
    q = benjamini_hochberg({name: claim_p(*test) for name, test in tests.items()}, list(tests)).q
    lost = {
        name: Verdict(
            Outcome.INCONCLUSIVE, f"supported alone, but q = {q[name]:.3g} among {len(tests)} tests"
        )
        for name, (claim, _) in tests.items()
        if alone[name].outcome is Outcome.SUPPORTED and q[name] > claim.alpha
    }
    return alone | lost
