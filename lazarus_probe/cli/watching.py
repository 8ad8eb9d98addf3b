"""Progress of work whose number of steps is unknown, with interrupts held during each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lazarus_probe.cli.progress import interrupts_held
from lazarus_probe.clock import replaced


@contextmanager
def watched(label: str) -> Iterator[Callable[[], None]]:
    """A function to call after each step: it counts on standard error, on a terminal only, and lets an interrupt in.

    Args:
        label: of the work.
    """
    with interrupts_held() as check, _counted(label) as count:

        def step() -> None:
            count()
            check()

        yield step


@contextmanager
def _counted(label: str) -> Iterator[Callable[[], None]]:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(label), BarColumn(), TextColumn("{task.completed} steps"), TimeElapsedColumn())
    with replaced(), Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(label, total=None)
        yield lambda: shown.advance(task)
