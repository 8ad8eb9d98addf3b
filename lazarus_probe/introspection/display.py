"""Results as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from lazarus_probe.tables import Cell, Table

__all__ = ["Cell", "table"]


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as HTML."""
    return Table(columns, rows, title).html()
