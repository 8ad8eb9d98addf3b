"""Controls that cost a model's run each, measured only where a verdict can depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import settled
from lazarus_probe.statistics.measurement import Measurement

Controls = Mapping[str, Any]


def as_needed(
    claim: Claim | None,
    measure: Callable[[Controls, tuple[str, ...]], Measurement],
    costly: Mapping[str, Callable[[], Any]],
    controls: Controls | None = None,
) -> Measurement:
    """A measurement with all controls that a claim declares, or without the costly ones where that settles it.

    Args:
        claim: what the measurement is judged by; None measures all controls.
        measure: makes the measurement of controls by name, and of the names of those that are left out.
        costly: by name, what computes a control or a part; those that the claim does not declare are not computed.
        controls: those that cost nothing more.
    """
    at_hand = dict(controls or {})
    if claim is not None:
        wanted = {*claim.controls, *claim.parts}
        declared = {name: compute for name, compute in costly.items() if name in wanted}
        if declared or at_hand:  # else nothing is measured, and nobody says which controls are missing
            costly = declared
        measurement = measure(at_hand, tuple(costly))
        if settled(claim, measurement):
            return measurement
    return measure(at_hand | {name: compute() for name, compute in costly.items()}, ())
