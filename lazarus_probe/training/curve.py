"""The loss curve of a pre-training run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

WINDOW = 50


def draw_curve(log: Path, image: Path) -> Path:
    """Draw the loss in nats against the step, each step and the mean of the last 50, from a run's `log.csv`.

    Raises:
        ValueError: the log has no steps.
    """
    from matplotlib.figure import Figure

    steps, losses = read_log(log)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss (nats)", yscale="log")
    axes.plot(steps, losses, color="0.8", linewidth=0.8, label="each step")
    axes.plot(steps, running_mean(losses), color="C0", label=f"mean of the last {WINDOW}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(image, dpi=120)
    return image


def read_log(log: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps (N,) and losses (N,) of a `log.csv`.

    Raises:
        ValueError: it has no steps.
    """
    with log.open(newline="") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    if not rows:
        raise ValueError(f"{log} has no steps; train first")
    steps, losses = zip(*rows, strict=True)
    return np.array(steps), np.array(losses)


def running_mean(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """The mean of each value (N,) and those before it, `window` at most."""
    total = np.cumsum(values)
    before = np.concatenate([np.zeros(min(window, len(values))), total[:-window]])
    return (total - before) / np.minimum(np.arange(1, len(values) + 1), window)
