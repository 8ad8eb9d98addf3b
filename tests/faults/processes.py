"""Commands in processes of their own that can be killed at any moment, with all that they started."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[2]
OUTPUT = "output.txt"
AFTER_A_WRITE = 0.02  # seconds within which a kill follows a change in the folder
LIMIT = 600.0  # seconds after which a command hangs

# What commands import is imported once, by the process that forks them: most of a short command is that.
PRELOADED = ["tests.faults.preloaded"]


class Hang(AssertionError):  # noqa: N818 - what a command does
    """A command did not end."""


def start(command: Sequence[str], folder: Path) -> BaseProcess:
    """Start `lazarus ...` or `pytest ...` in a folder, in a process group of its own."""
    process = _context().Process(target=run, args=(tuple(command), str(folder)))
    process.start()
    return process


def preload() -> None:
    """Have everything imported: the time of the first command would count it otherwise."""
    process = _context().Process(target=os.getpid)
    process.start()
    process.join()


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run(command: Sequence[str], folder: str) -> None:
    """The command itself: what it prints goes to a file beside its folder."""
    os.setsid()
    os.chdir(folder)
    with Path(f"../{Path(folder).name}.{OUTPUT}").open("ab") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    program, *arguments = command
    sys.argv = [*command]
    if program == "pytest":
        import pytest

        code = int(pytest.main([*arguments]))
    else:
        from lazarus_probe.cli.lazarus import main

        code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def ended(command: Sequence[str], folder: Path) -> int:
    """Run a command to its end, and return its exit code.

    Raises:
        Hang: it does not end.
    """
    process = start(command, folder)
    process.join(LIMIT)
    if process.exitcode is None:
        kill(process)
        raise Hang(f"{' '.join(command)} did not end in {LIMIT:.0f} s")
    return process.exitcode


def kill(process: BaseProcess) -> None:
    """SIGKILL to a process and all that it started."""
    if process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # before it had a group of its own, or after its end
            process.kill()
    process.join()


def killed(command: Sequence[str], folder: Path, seconds: float, rng: random.Random) -> bool:
    """Start a command and kill it at a random moment; half of the moments follow a write. Whether it was in time.

    Args:
        command: what runs.
        folder: where.
        seconds: that the command takes when it is left alone.
        rng: draws the moment.
    """
    process = start(command, folder)
    moment = time.monotonic() + rng.uniform(0, seconds)
    if rng.random() < 0.5:
        _wait(process, moment)
        before = listing(folder)
        _wait(process, time.monotonic() + seconds, lambda: listing(folder) != before)
        moment = time.monotonic() + rng.uniform(0, AFTER_A_WRITE)
    _wait(process, moment)
    in_time = process.exitcode is None
    kill(process)
    return in_time


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every file of a folder with its size and time."""
    found = []
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            try:
                stat = file.lstat()
            except FileNotFoundError:
                continue
            found.append((str(file.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def _wait(process: BaseProcess, until: float, stop: Callable[[], bool] = lambda: False) -> None:
    while process.exitcode is None and time.monotonic() < until and not stop():
        time.sleep(0.001)
