"""Scores along one axis or two, to be drawn: a scan of layers, a grid of layers and positions."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_probe.statistics.measurement.checks import check_finite


@dataclass(frozen=True)
class Curve:
    """A score, or a control, along an axis.

    Attributes:
        name: `score`, or the control's.
        x: (K,) places, such as layers; -1 is the embedding.
        y: (K,) scores.
        low: (K,) lower ends of their intervals, where there are.
        high: (K,) upper ends.
        axis: what x counts.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    axis: str = "layer"

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        parts = [part for part in (self.y, self.low, self.high) if part is not None]
        if not self.x or any(len(part) != len(self.x) for part in parts):
            raise ValueError(
                f"curve {self.name!r} has {len(self.x)} places: give as many scores, and interval ends"
            )
        for name in ("x", "y", "low", "high"):
            check_finite(
                f"curve {self.name!r}", **{f"{name}[{i}]": v for i, v in enumerate(getattr(self, name) or ())}
            )


@dataclass(frozen=True)
class Grid:
    """A score over two axes, such as layers by positions.

    Attributes:
        name: what is shown.
        rows: (R,) names, such as `L0`.
        columns: (K,) names, such as tokens.
        values: (R, K).
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        shape = [len(row) for row in self.values]
        if not shape or not self.columns or shape != [len(self.columns)] * len(self.rows):
            raise ValueError(
                f"grid {self.name!r} has {len(self.rows)} rows and {len(self.columns)} columns: "
                "give a value for each cell"
            )
        for row, name in zip(self.values, self.rows, strict=True):
            check_finite(
                f"grid {self.name!r}, row {name}", **{f"cell {i}": value for i, value in enumerate(row)}
            )
