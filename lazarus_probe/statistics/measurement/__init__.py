"""A measurement with its controls, its examples, and what else a claim may ask of it."""

from __future__ import annotations

from lazarus_probe.statistics.measurement.conditions import Damage, Growth, Part, Strata
from lazarus_probe.statistics.measurement.control import Control
from lazarus_probe.statistics.measurement.curves import Curve, Grid
from lazarus_probe.statistics.measurement.examples import Counterexample, Example, some_examples
from lazarus_probe.statistics.measurement.measurement import Measurement, counted

__all__ = [
    "Control",
    "Counterexample",
    "Curve",
    "Damage",
    "Example",
    "Grid",
    "Growth",
    "Measurement",
    "Part",
    "Strata",
    "counted",
    "some_examples",
]
