"""Edits of values in a model's forward pass, for `trace`, `hooked` and `sweep`."""

from __future__ import annotations

from lazarus_probe.hooks.interventions import (
    Intervention,
    mean,
    noise,
    patch,
    resample,
    scale,
    steer,
    zero,
)

__all__ = [
    "Intervention",
    "mean",
    "noise",
    "patch",
    "resample",
    "scale",
    "steer",
    "zero",
]
