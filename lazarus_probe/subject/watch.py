"""A watch beside the processes of one run, so that all end, with the reason, when one dies, hangs or is interrupted.

Exchanges of values wait for ever for a process that does not come. So a thread of each process tells the first one
every second that it lives, how much its threads have computed, and where its main thread is, over a connection of their
own. The run ends when a process says that it failed, when its connection is lost, when nothing is heard of it, or when
no process computes any more: then they wait for each other, or all for one that waits for something else. A process
that computes is let be, however long it takes.

To end, the sockets of mlx's ring are shut down: a main thread that waits in its first exchange gets an error, and ends
as after any other. In later ones it waits on, since mlx tells nothing after the exchange that failed, and cannot be
interrupted either. Then the watch does what has to be done last, such as a partial report, and the process ends.
"""

from __future__ import annotations

import faulthandler
import math
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from lazarus_probe.subject.watch_channel import Line, Server, called, listening

PATIENCE_VARIABLE = "LAZARUS_PATIENCE"
PATIENCE = 40.0  # seconds of silence, or in which nobody computes
# A GPU computes while every thread of the process waits for it.
GPU_FACTOR = 10
BEAT = 1.0
UNWINDING = 3.0  # seconds after which a main thread that does not end by itself is interrupted
GRACE = 8.0  # seconds after which it is taken for stuck
TICKS = 2  # of 10 ms: less than that is keeping house
CODE = 2
LOST = "peer was lost"  # in mlx's error


def patience() -> float:
    """Seconds after which a process that is not heard of counts as dead.

    Raises:
        ValueError: the environment's LAZARUS_PATIENCE is no positive number.
    """
    text = os.environ.get(PATIENCE_VARIABLE, str(PATIENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(
            f"{PATIENCE_VARIABLE} is {text!r}; give the seconds after which a process counts as dead"
        )
    return seconds


@dataclass(frozen=True)
class Ring:
    """What connecting the processes has opened in this one.

    Attributes:
        threads: ids of threads that move data, and spin while they wait.
        sockets: file descriptors.
    """

    threads: frozenset[int]
    sockets: frozenset[int]

    def cut(self) -> None:
        """End every exchange that goes on, and those to come, with an error."""
        for number in self.sockets:
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
                copy.shutdown(socket.SHUT_RDWR)


def ring_of(connect: Callable[[], Any]) -> tuple[Any, Ring]:
    """What `connect` returns, and what it has opened."""
    threads, sockets = _threads(), _sockets()
    result = connect()
    return result, Ring(frozenset(_threads() - threads), frozenset(_sockets() - sockets))


@dataclass
class _Heard:
    """What is known of a process: when it was heard of last, what it had computed, and where it was."""

    at: float
    ticks: int | None = None
    where: str = ""


@dataclass(eq=False)
class Watch:
    """The watch of one process.

    Attributes:
        rank: of the process.
        size: how many there are.
        ring: what to shut down.
        silence: seconds after which a process that is not heard of is dead.
        idle: seconds in which no process computes, after which they are said to hang.
        reason: why the run ends; None while it does not.
        last_words: what is done before a process ends whose main thread is stuck.
    """

    rank: int
    size: int
    ring: Ring
    silence: float
    idle: float
    reason: str | None = None
    last_words: Callable[[], None] | None = None
    _lines: dict[int, Line] = field(default_factory=dict)
    _heard: dict[int, _Heard] = field(default_factory=dict)
    _ticks: dict[int, int | None] = field(default_factory=dict)
    _computing_since: float = 0.0
    _unwinding: bool = False
    _leaving: bool = False
    _over: bool = False
    _errors: int = field(default_factory=lambda: os.dup(2))  # what pytest captures later is not it

    def start(self, exchange: Callable[[str], str]) -> None:
        """Connect to the first process and begin to watch; each process has to call it, in its main thread.

        Args:
            exchange: gives every process the text of the first one.
        """
        faulthandler.dump_traceback_later(self.silence, exit=True, file=self._errors)
        server = listening() if self.rank == 0 else None
        address = exchange(server.address if server else "")
        if self.rank and (line := called(address, self.rank)):
            self._lines[0] = line
        elif self.rank:
            self._say(
                f"warning: {self._name(self.rank)} is not watched: the first one cannot be reached by {address}"
            )
        self._computing_since = time.monotonic()
        caught, woken = socket.socketpair()
        for end in (caught, woken):
            end.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _interrupted)
        arguments = (server, caught, woken)
        threading.Thread(target=self._run, args=arguments, name="watch", daemon=True).start()

    def fail(self, reason: str) -> None:
        """Say why this process ends by itself, which ends the others.

        Of a connection that was lost the reason is on its way: it is waited for, so that it is said.
        """
        _let_signals_be()
        self._unwinding = True
        until = time.monotonic() + UNWINDING
        while LOST in reason and self.reason is None and time.monotonic() < until:
            time.sleep(0.05)
        if self.reason is None:
            self._tell({"end": reason})  # before the watch sees that there is one, and closes the connections
            self.reason = reason
        faulthandler.cancel_dump_traceback_later()

    def stop(self) -> None:
        """End the watch, once all processes are done."""
        # From now on no process owes this one a word: who got its `bye` may be gone at once.
        self._leaving = True
        self._tell({"bye": True})
        _let_signals_be()
        self._over = True
        faulthandler.cancel_dump_traceback_later()
        for line in list(self._lines.values()):
            line.finish()

    def _run(self, server: Server | None, caught: socket.socket, woken: socket.socket) -> None:
        with DefaultSelector() as selector, caught, woken:
            try:
                self._watch(selector, server, caught)
            finally:
                for line in list(self._lines.values()):
                    line.finish()
                    line.socket.close()
                if server:
                    server.socket.close()

    def _watch(self, selector: DefaultSelector, server: Server | None, caught: socket.socket) -> None:
        own = threading.get_native_id()
        selector.register(caught, EVENT_READ, None)
        if server:
            selector.register(server.socket, EVENT_READ, server)
        for line in self._lines.values():
            selector.register(line.socket, EVENT_READ, line)
            self._heard[0] = _Heard(time.monotonic())
        until = 0.0
        while not self._over and self.reason is None:
            if time.monotonic() >= until:
                until = time.monotonic() + BEAT
                self._beat(own)
            for key, _event in selector.select(timeout=BEAT):
                if key.data is None:
                    self._signalled(caught)
                elif server and key.data is server:
                    if caller := server.accepted():
                        self._lines[caller.rank] = caller
                        self._heard[caller.rank] = _Heard(time.monotonic())
                        selector.register(caller.socket, EVENT_READ, caller)
                else:
                    self._read(key.data, selector)
            self._judge()
        if self.reason is not None:
            self._end()

    def _beat(self, own: int) -> None:
        faulthandler.dump_traceback_later(self.silence, exit=True, file=self._errors)
        ticks = _ticks(self.ring.threads | {own})
        self._heard[self.rank] = _Heard(time.monotonic(), ticks, _place())
        self._tell({"ticks": ticks, "where": self._heard[self.rank].where})

    def _read(self, line: Line, selector: DefaultSelector) -> None:
        messages = line.messages()
        for message in messages or ():
            known = self._heard[line.rank]
            known.at = time.monotonic()
            known.ticks, known.where = message.get("ticks", known.ticks), message.get("where", known.where)
            if "end" in message:
                self._decide(str(message["end"])[:2000], line.rank)
            if "bye" in message:
                messages = None
                self._heard.pop(line.rank)
                break
        else:
            if messages is None and not self._leaving:
                self._decide(f"{self._name(line.rank)} ended without a word")
        if messages is None:
            selector.unregister(line.socket)
            self._lines.pop(line.rank, None)
            line.socket.close()

    def _judge(self) -> None:
        """Whether a process is dead, or none computes."""
        now = time.monotonic()
        for rank, known in self._heard.items():
            if now - known.at > self.silence:
                self._decide(f"nothing was heard of {self._name(rank)} for {self.silence:g} seconds")
        ticks = {rank: known.ticks for rank, known in self._heard.items()}
        if self.rank or None in ticks.values():
            return
        if any(abs(count - (self._ticks.get(rank) or 0)) >= TICKS for rank, count in ticks.items() if count):
            self._ticks, self._computing_since = ticks, now
        elif now - self._computing_since > self.idle:
            places = ", ".join(
                f"{self._name(rank)} is at {self._heard[rank].where}" for rank in sorted(ticks)
            )
            self._decide(f"no process has computed anything for {self.idle:g} seconds: {places}")

    def _signalled(self, caught: socket.socket) -> None:
        numbers = caught.recv(64)
        if {signal.SIGINT, signal.SIGTERM} & set(numbers) and not self._over:
            self._decide(f"{self._name(self.rank)} was interrupted")

    def _decide(self, reason: str, teller: int | None = None) -> None:
        if self.reason is not None:
            return
        self.reason = reason
        self._say(f"error: the run of {self.size} processes ends: {reason}")
        self._tell({"end": reason}, but=teller)

    def _end(self) -> None:
        self.ring.cut()
        main = threading.main_thread().ident
        for seconds, last in ((UNWINDING, False), (GRACE - UNWINDING, True)):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                faulthandler.dump_traceback_later(self.silence, exit=True, file=self._errors)
                time.sleep(0.1)
                if self._over or self._unwinding:
                    faulthandler.cancel_dump_traceback_later()
                    return
            if not last and main is not None:
                signal.pthread_kill(main, signal.SIGINT)
        faulthandler.dump_traceback_later(self.silence, exit=True, file=self._errors)
        self._say(f"{self._name(self.rank)} is stuck at {_place()}")
        try:
            if self.last_words:
                self.last_words()
        except Exception as error:
            self._say(f"warning: {self._name(self.rank)} could not do what it does last: {error}")
        os._exit(CODE)

    def _tell(self, message: dict[str, Any], but: int | None = None) -> None:
        for rank, line in list(self._lines.items()):
            if rank != but:
                line.send(message)

    def _say(self, text: str) -> None:
        with suppress(OSError):
            os.write(self._errors, f"{text}\n".encode(errors="backslashreplace"))

    def _name(self, rank: int) -> str:
        return f"process {rank} of {self.size}"


def _let_signals_be() -> None:
    with suppress(ValueError):  # of the main thread alone
        signal.set_wakeup_fd(-1)


def _interrupted(*_: object) -> None:
    """Of SIGTERM, as `mlx.launch` sends it to the others when one has ended: with a partial report, as of Ctrl-C."""
    raise KeyboardInterrupt


def _place() -> str:
    """Where the main thread is, by file and line."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return "its end"
    path = "/".join(Path(frame.f_code.co_filename).parts[-3:])
    return f"line {frame.f_lineno} of {path} ({frame.f_code.co_name})"


def _threads() -> set[int]:
    folder = Path("/proc/self/task")
    return {int(path.name) for path in folder.iterdir()} if folder.is_dir() else set()


def _ticks(left_out: frozenset[int] | set[int]) -> int | None:
    """CPU time of this process' threads, some left out, in ticks of 10 ms; None where the system does not tell."""
    if not (threads := _threads() - left_out):
        return None
    total = 0
    for thread in threads:
        with suppress(OSError):  # one that has ended since
            fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total


def _sockets() -> set[int]:
    numbers = set[int]()
    for path in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):  # the folder's own
            if stat.S_ISSOCK(os.fstat(int(path.name)).st_mode):
                numbers.add(int(path.name))
    return numbers
