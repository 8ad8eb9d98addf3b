"""The progress bar of whatever takes long, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lazarus_probe.clock import replaced


@contextmanager
def bar(
    total: int, wanted: bool, label: str = "sweep", unit: str = "cells"
) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of units that are done; nothing is shown where nobody would see it.

    Args:
        total: units in all.
        wanted: whether to show the bar, on a terminal.
        label: what is being done.
        unit: what is counted.
    """
    if not wanted:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(label),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with (
        replaced(),
        Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown,
    ):
        task = shown.add_task(label, total=total)
        yield lambda cells: shown.advance(task, cells)
