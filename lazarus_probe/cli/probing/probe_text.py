"""Probes in a line of text: the score, its interval, and the best control."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.statistics.measurement import Control, Measurement

WORDS = {
    "majority": "the majority class",
    "mean": "the mean answer",
    "bag_of_tokens": "a bag of tokens",
    "untrained": "an untrained model",
    "new_blocks": "a model with new blocks",
    "permuted_blocks": "a model with permuted blocks",
    "token_embeddings": "the token embeddings",
    "shuffled_labels": "shuffled labels",
    "control_task": "random classes of tokens",
    "operands": "the operands as numbers",
}


def accuracy(measurement: Measurement) -> str:
    """An accuracy as percentages, with its interval and its best control."""
    low, high = (f"{100 * end:.1f}%" for end in (measurement.low, measurement.high))
    return f"{100 * measurement.score:.1f}%  [{low}, {high}]{_best(measurement, percent=True)}"


def r2(measurement: Measurement) -> str:
    """An R2, or another number, with its interval and its best control."""
    ends = f"[{measurement.low:.3f}, {measurement.high:.3f}]"
    return f"{measurement.score:.3f}  {ends}{_best(measurement, percent=False)}"


def rivals(claim: Claim, measurement: Measurement) -> str:
    """The controls over which a gain past the claim's margin is not shown; empty if there are none."""
    percent = measurement.unit == "held-out accuracy"
    close = sorted(
        (control for control in measurement.controls if control.low < claim.margin),
        key=lambda control: control.gain,
    )
    if not close:
        return ""
    *rest, last = (_with_score(control, percent) for control in close)
    return f"{', '.join(rest)}{' and ' if rest else ''}{last}"


def compared(measurement: Measurement) -> str:
    """The control that the score gains least over."""
    best, percent = measurement.best_control, measurement.unit == "held-out accuracy"
    return "" if best is None else f"compared with {_with_score(best, percent)}"


def verdict_lines(verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """A line per verdict, with its reason."""
    yield "Verdicts:"
    width = max(map(len, verdicts), default=0)
    for key, verdict in verdicts.items():
        yield f"  {key.ljust(width)}  {verdict}"


def _best(measurement: Measurement, percent: bool) -> str:
    best = measurement.best_control
    if best is None:
        return ""
    scale, digits = (100, 1) if percent else (1, 3)
    gain, low, high = (f"{scale * value:+.{digits}f}" for value in (best.gain, best.low, best.high))
    return f"  best control: {_with_score(best, percent)}, gain {gain} [{low}, {high}]"


def _with_score(control: Control, percent: bool) -> str:
    score = f"{100 * control.score:.1f}%" if percent else f"{control.score:.3f}"
    return f"{WORDS.get(control.name, control.name)} ({score})"
