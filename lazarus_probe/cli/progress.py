"""What a training shows while it runs: the table of losses, a progress bar on a terminal, and interrupts held."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from lazarus_probe.clock import replaced

EVERY = 100
RULE = "-" * 40


@contextmanager
def interrupts_held() -> Iterator[Callable[[], None]]:
    """Hold an interrupt until it is checked for between two steps: raised inside a call into mlx it can be lost.

    The function yielded raises `KeyboardInterrupt` if there was one; so does leaving the block, if it was not checked.
    A second interrupt is raised at once. Outside the main thread, where no signal arrives, nothing is held.
    """
    held = False

    def hold(*_: object) -> None:
        nonlocal held
        if held:
            raise KeyboardInterrupt
        held = True

    def check() -> None:
        if held:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGINT, hold)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
    check()


@contextmanager
def bar(total: int, start: int = 0, label: str = "") -> Iterator[Callable[[int, float], None]]:
    """A function to call with each step and its loss; the bar is on standard error, and only on a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _step, _loss: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        *([TextColumn(label)] if label else []),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    # Only a terminal's lines would break the bar; what is piped away must not be sent to standard error.
    with replaced(), Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("train", total=total, completed=start, loss="-")
        yield lambda step, loss: progress.update(task, completed=step, loss=f"{loss:.3f}")


@contextmanager
def losses_shown(
    total: int, columns: Sequence[str] = ("Total",), *, start: int = 0, every: int = EVERY
) -> Iterator[Callable[..., None]]:
    """The published table of losses on standard output, a bar, and interrupts held, around one training.

    The function yielded is called after each step as `show(step, *losses)`, one loss per column, the first of them on
    the bar; it raises `KeyboardInterrupt` there if one came. A row is the mean of the losses since the row before; the
    last step ends one too.

    Args:
        total: steps in all.
        columns: what the losses are.
        start: the step after which the training resumes.
        every: steps per row.
    """
    since: list[tuple[float, ...]] = []
    _line("  Step   " + columns[0].ljust(12) + "".join(name.ljust(11) for name in columns[1:]).rstrip())
    _line(RULE)
    with interrupts_held() as check, bar(total, start) as show_bar:

        def show(step: int, *losses: float) -> None:
            since.append(losses)
            if step % every == 0 or step == total:
                means = (sum(column) / len(since) for column in zip(*since, strict=True))
                _line(f"{step:>6}" + "".join(f"{mean:>11.4f}" for mean in means))
                since.clear()
            show_bar(step, losses[0])
            check()

        yield show
    _line(RULE)


def _line(text: str) -> None:
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()
