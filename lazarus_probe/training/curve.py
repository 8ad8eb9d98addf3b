"""The loss curve of a training run, from its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lazarus_probe.files.whole_files import whole_file
from lazarus_probe.training.log import read_rows

WINDOW = 50
VALIDATION = "validation"
# The columns of a log that are not losses.
OTHER = {"step", "loss", "learning_rate", "grad_norm", "tokens", VALIDATION}


def draw_curve(log: Path, image: Path) -> Path:
    """Draw the losses in nats against the step from a run's log: each step, and the mean of the last 50.

    The parts of the loss, and the validation loss with its best step, are drawn where the log has them.

    Args:
        log: log.csv or log.jsonl with `step` and `loss`; "validation" and all columns other than a rate, a norm or a
            count are losses too.
        image: the file to write; its suffix sets the format, as in .png or .svg.

    Raises:
        ValueError: the log has no steps.
    """
    from matplotlib.figure import Figure

    rows = _rows(log)
    steps, losses = read_log(log)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (nats)", yscale="log")
    axes.plot(steps, losses, color="0.8", linewidth=0.8, label="each step")
    axes.plot(steps, running_mean(losses), color="C0", label=f"mean of the last {WINDOW}")
    parts = _parts(rows)
    if len(parts) > 1:
        for index, name in enumerate(parts, 1):
            at, values = _column(rows, name)
            axes.plot(at, running_mean(values), color=f"C{index}", linewidth=1, label=name)
    _draw_validation(axes, *_column(rows, VALIDATION))
    axes.legend()
    axes.grid(alpha=0.3)
    with whole_file(image) as aside:
        figure.savefig(aside, dpi=120)
    return image


def read_log(log: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (N,) and losses (N,) of a log.

    Raises:
        ValueError: it has no steps.
    """
    return _column(_rows(log), "loss")


def running_mean(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """The trailing mean of values (N,) over a window of at most `window`."""
    total = np.cumsum(values)
    before = np.concatenate([np.zeros(min(window, len(values))), total[:-window]])
    return (total - before) / np.minimum(np.arange(1, len(values) + 1), window)


def _rows(log: Path) -> list[dict[str, Any]]:
    rows = read_rows(log)
    if not rows:
        raise ValueError(f"{log} has no steps; train first")
    return rows


def _parts(rows: list[dict[str, Any]]) -> list[str]:
    """The names of the parts of the loss."""
    return [name for name, value in rows[0].items() if name not in OTHER and isinstance(value, float | int)]


def _column(rows: list[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """A column's steps and values, without the empty fields."""
    points = [(row["step"], float(row[name])) for row in rows if row.get(name) is not None]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, int), np.array(values, float)


def _draw_validation(axes: Any, steps: np.ndarray, losses: np.ndarray) -> None:
    if not len(steps):
        return
    best = losses.argmin()
    axes.plot(steps, losses, color="black", marker=".", linewidth=1, label="validation")
    axes.axvline(steps[best], color="black", linewidth=0.8, linestyle=":", label=f"best, step {steps[best]}")
