"""Time and memory limits for untrusted code: chat templates.

Transformers renders them in jinja's sandbox, which they cannot escape; but a sandbox does not stop an endless loop, or
a text of ten gigabytes.
"""

from __future__ import annotations

import ctypes
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

SECONDS = 5.0
MEMORY = 512 << 20  # bytes beyond what the process has
MOST_TEXT = 4 << 20  # characters of a rendered conversation
HALF = re.compile("[\ud800-\udfff]")
T = TypeVar("T")


class LimitError(ValueError):
    """A computation takes too long, or too much memory."""


class _Stopped(BaseException):
    """Raised inside the stopped code; a library's `except Exception` does not catch it."""


def within_limits(task: str, action: Callable[[], T], seconds: float = SECONDS, memory: int = MEMORY) -> T:
    """The result of `action`, within limits on time and memory.

    It is stopped between two Python instructions; an instruction that allocates too much fails where the system limits
    the address space (Linux).

    Args:
        task: its name in errors.
        action: a function in pure Python.
        seconds: the time limit.
        memory: the limit in bytes, beyond the current use of the process.

    Raises:
        LimitError: a limit was exceeded.
    """
    timer = _Timer(seconds)
    try:
        with timer, _addresses(memory):
            return action()
    except _Stopped:
        raise LimitError(f"{task} takes longer than {seconds:g} s") from None
    except MemoryError:
        raise LimitError(f"{task} takes more than {memory >> 20} MiB") from None
    except RecursionError:
        raise LimitError(f"{task} calls itself without an end") from None


class _Timer:
    """Raises `_Stopped` in the thread that entered it, unless that leaves within some seconds."""

    def __init__(self, seconds: float) -> None:
        self._lock, self._within = threading.Lock(), False
        self._thread = threading.get_ident()
        self._timer = threading.Timer(seconds, self._stop)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._within = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        except _Stopped:  # raised while leaving
            self._leave()
            raise

    def _leave(self) -> None:
        with self._lock:
            self._within = False
        self._timer.cancel()

    def _stop(self) -> None:
        with self._lock:
            if self._within:
                self._within = False
                raised, thread = ctypes.py_object(_Stopped), ctypes.c_ulong(self._thread)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, raised)


@contextmanager
def _addresses(memory: int) -> Iterator[None]:
    """Limit the address space to `memory` more bytes, where the system supports that."""
    used = _used()
    if not used:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + memory
    most = min((limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY), default=wanted)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _used() -> int:
    """The address space of this process in bytes; 0 if the system does not report it."""
    if sys.platform != "linux":
        return 0
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ImportError, ValueError):
        return 0


def check_template(template: str) -> None:
    """Check that a chat template parses and has no power operator, a single step of which can take hours.

    Raises:
        ValueError: it does not parse, or has one.
    """
    from jinja2 import Environment, TemplateSyntaxError, nodes

    if len(template) > MOST_TEXT:
        raise ValueError(f"it is longer than {MOST_TEXT:,} characters")
    try:
        # Without the only tag that transformers adds to jinja's.
        plain = re.sub(r"{%[-+]?\s*(?:end)?generation\s*[-+]?%}", "", template)
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)  # noqa: S701 - never rendered
        power = next(tree.find_all(nodes.Pow), None)
    except TemplateSyntaxError:
        return  # transformers says so where it is rendered
    except RecursionError:
        raise ValueError("it nests too deeply") from None
    if power is not None:
        raise ValueError("it takes a number to a power (**), which one step could spend hours on")


def bounded_chat(tokenizer: Any) -> None:
    """Limit the time, memory and output of a tokenizer's chat template, in place."""
    own = tokenizer.apply_chat_template

    def apply_chat_template(*args: Any, **options: Any) -> Any:
        try:
            text = within_limits("the chat template", lambda: own(*args, **options))
        except (
            SyntaxError,
            RuntimeError,
            AssertionError,
        ) as error:  # from Python, on the code that jinja compiles
            raise ValueError(f"it makes no program: {' '.join(str(error).split())[:200]}") from None
        if isinstance(text, str):
            if len(text) > MOST_TEXT:
                raise LimitError(f"the chat template writes more than {MOST_TEXT:,} characters")
            if HALF.search(text):
                raise ValueError("the chat template writes a lone surrogate")
        return text

    tokenizer.apply_chat_template = apply_chat_template
