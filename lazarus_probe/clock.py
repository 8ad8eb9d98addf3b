"""The seconds that a command has taken, on a terminal, until it shows something of its own.

A real model takes seconds to load, and an analysis may have no number of steps to count. So every command shows after
two seconds that it works; what shows more, such as the bar of a sweep, takes its place.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

AFTER = 2.0  # seconds
_running: list[_Clock] = []


@contextmanager
def running(label: str, after: float = AFTER) -> Iterator[None]:
    """Show how long the block takes, on standard error, where that is a terminal.

    It starts after some seconds, and ends for good with the first output on either stream.

    Args:
        label: what runs.
        after: seconds until it is shown.
    """
    if not sys.stderr.isatty() or _running:
        yield
        return
    out, err = sys.stdout, sys.stderr
    clock = _Clock(label, after, err)
    _running.append(clock)
    sys.stdout, sys.stderr = _Watched(out, clock), _Watched(err, clock)
    clock.wait()
    try:
        yield
    finally:
        clock.end()
        _running.remove(clock)
        sys.stdout, sys.stderr = out, err


@contextmanager
def replaced() -> Iterator[None]:
    """Hide the clock while the block shows something else."""
    for clock in _running:
        clock.hide()
    try:
        yield
    finally:
        for clock in _running:
            clock.wait()


class _Clock:
    def __init__(self, label: str, after: float, stream: Any) -> None:
        self.label, self.after, self.stream = label, after, stream
        self.lock = threading.RLock()
        self.timer: threading.Timer | None = None
        self.shown: Any = None
        self.hidden = 1  # times it was hidden and not yet shown again
        self.ended = False

    def wait(self) -> None:
        """Show it after a while, if nothing hides it by then."""
        with self.lock:
            self.hidden -= 1
            if self.hidden or self.ended:
                return
            self.timer = threading.Timer(self.after, self._show)
            self.timer.daemon = True
            self.timer.start()

    def hide(self) -> None:
        with self.lock:
            self.hidden += 1
            self._stop()

    def end(self) -> None:
        with self.lock:
            self.ended = True
            self._stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self.lock:
            if self.hidden or self.ended or self.shown is not None:
                return
            self.shown = Progress(
                SpinnerColumn(),
                TextColumn(self.label),
                TimeElapsedColumn(),
                console=Console(file=self.stream),
                transient=True,
                # What is written ends the clock first.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self.shown.add_task(self.label, total=None)
            self.shown.start()

    def _stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.shown is not None:
            self.shown.stop()
            self.shown = None


class _Watched:
    """A stream whose first output ends the clock."""

    def __init__(self, stream: Any, clock: _Clock) -> None:
        self.stream, self.clock = stream, clock

    def write(self, text: str) -> Any:
        if not self.clock.hidden:
            self.clock.end()
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
