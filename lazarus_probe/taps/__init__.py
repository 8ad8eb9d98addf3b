"""Functions around the calls of a model's modules, and inside its attention kernel."""

from __future__ import annotations

from lazarus_probe.taps.kernel import Change, Inside, attention_scores, mix
from lazarus_probe.taps.tap import (
    Around,
    Tap,
    argument,
    held,
    is_tapped,
    original,
    tapped,
    taps_on,
    untapped,
    with_argument,
)

__all__ = [
    "Around",
    "Change",
    "Inside",
    "Tap",
    "argument",
    "attention_scores",
    "held",
    "is_tapped",
    "mix",
    "original",
    "tapped",
    "taps_on",
    "untapped",
    "with_argument",
]
