"""Time and memory for code that is a stranger's data: chat templates.

Transformers renders them in jinja's sandbox, from which nothing leads out; but a sandbox does not stop a loop that
never ends, or a text of ten gigabytes.
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
MOST_TEXT = 4 << 20  # characters of a conversation as a template writes it
HALF = re.compile("[\ud800-\udfff]")
T = TypeVar("T")


class LimitError(ValueError):
    """What was to be computed takes too long, or too much memory."""


class _Stopped(BaseException):
    """Raised within the code that is stopped; no `except Exception` of a library takes it for its own."""


def within_limits(what: str, action: Callable[[], T], seconds: float = SECONDS, memory: int = MEMORY) -> T:
    """What `action` returns, if it does in time.

    It is stopped between two steps of Python; one step that allocates more than there is fails of itself where the
    system limits addresses (Linux).

    Args:
        what: it is, for errors.
        action: in pure Python.
        seconds: it may take.
        memory: bytes that it may take beyond what the process has.

    Raises:
        LimitError: it took longer, or more memory.
    """
    timer = _Timer(seconds)
    try:
        with timer, _addresses(memory):
            return action()
    except _Stopped:
        raise LimitError(f"{what} takes longer than {seconds:g} s") from None
    except MemoryError:
        raise LimitError(f"{what} takes more than {memory >> 20} MiB") from None
    except RecursionError:
        raise LimitError(f"{what} calls itself without an end") from None


class _Timer:
    """Raises `_Stopped` in the thread that entered it, after some seconds, if that has not left by then."""

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
        except _Stopped:  # it came while this was leaving
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
    """At most so many more bytes of addresses within; nothing where the system does not count them."""
    used = _used()
    if not used:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = used + memory
    most = min((each for each in (wanted, soft, hard) if each != resource.RLIM_INFINITY), default=wanted)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _used() -> int:
    """The addresses that this process has, in bytes; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    try:
        import resource

        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ImportError, ValueError):
        return 0


def check_template(template: str) -> None:
    """Whether a chat template is one, and has no power in it: one step of that can take for ever.

    Raises:
        ValueError: it is not, or has.
    """
    from jinja2 import Environment, TemplateSyntaxError, nodes

    if len(template) > MOST_TEXT:
        raise ValueError(f"it is longer than {MOST_TEXT:,} characters")
    try:
        # Without the one tag that transformers adds to jinja's.
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
    """Let a tokenizer's chat template take only so much time, memory and text, in place."""
    own = tokenizer.apply_chat_template

    def apply_chat_template(*args: Any, **options: Any) -> Any:
        try:
            found = within_limits("the chat template", lambda: own(*args, **options))
        except (
            SyntaxError,
            RuntimeError,
            AssertionError,
        ) as error:  # of Python, on what jinja makes of a template
            raise ValueError(f"it makes no program: {' '.join(str(error).split())[:200]}") from None
        if isinstance(found, str):
            if len(found) > MOST_TEXT:
                raise LimitError(f"the chat template writes more than {MOST_TEXT:,} characters")
            if HALF.search(found):
                raise ValueError(
                    "the chat template writes half a character: a surrogate without the other of its pair"
                )
        return found

    tokenizer.apply_chat_template = apply_chat_template
