"""Grids of interventions over many prompts, at a fraction of a forward pass per cell."""

from __future__ import annotations

from lazarus_probe.sweep.attribution import attribution, correlation, screen
from lazarus_probe.sweep.engine import sweep
from lazarus_probe.sweep.grid import Cell
from lazarus_probe.sweep.metrics import answer, kl, logit_diff, probability, rank
from lazarus_probe.sweep.result import Sweep
from lazarus_probe.sweep.routes import Route, route_of
from lazarus_probe.sweep.sources import Donors, Mean, Resample, Zero

__all__ = [
    "Cell",
    "Donors",
    "Mean",
    "Resample",
    "Route",
    "Sweep",
    "Zero",
    "answer",
    "attribution",
    "correlation",
    "kl",
    "logit_diff",
    "probability",
    "rank",
    "route_of",
    "screen",
    "sweep",
]
