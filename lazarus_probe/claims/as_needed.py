"""Controls that cost a model's run each, measured only where a verdict can depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import decided_early
from lazarus_probe.statistics.measurement import Measurement

Controls = Mapping[str, Any]


def as_needed(
    claim: Claim | None,
    measure: Callable[[Controls, tuple[str, ...]], Measurement],
    costly: Mapping[str, Callable[[], Any]],
    controls: Controls | None = None,
) -> Measurement:
    """A measurement with all controls that a claim declares, or with the first few of them where these settle it.

    Args:
        claim: what the measurement is judged by; None measures all controls.
        measure: makes the measurement of controls by name, and of the names of those that are left out.
        costly: by name, what computes a control or a part, in the order in which they are computed: parts first, for a
            part can refute what a control would confound. Those that the claim does not declare are not computed.
        controls: those that cost nothing more.
    """
    measured = dict(controls or {})
    if claim is None:
        return measure(measured | {name: compute() for name, compute in costly.items()}, ())
    declared = [name for name in costly if name in {*claim.controls, *claim.parts}]
    if not declared and not measured:
        declared = list(costly)  # else nothing is measured, and nobody says which controls are missing
    measurement = measure(measured, tuple(declared))
    while declared and not decided_early(claim, measurement):
        name = declared.pop(0)
        measured[name] = costly[name]()
        measurement = measure(measured, tuple(declared))
    return measurement
