"""Chat templates end: in time, and within memory and text."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

import pytest

from lazarus_probe.checkpoints.limits import LimitError, bounded_chat, check_template, within_limits


def endless():
    while True:
        pass


def swallowing():
    while True:
        with suppress(Exception):  # as a library might
            endless()


@pytest.mark.parametrize("action", [endless, swallowing])
def test_what_takes_too_long_is_stopped(action):
    """A loop ends soon after its time, even within code that takes all exceptions for its own."""
    start = time.monotonic()
    with pytest.raises(LimitError, match=r"it takes longer than 0\.2 s"):
        within_limits("it", action, seconds=0.2)
    assert time.monotonic() - start < 10


def test_it_is_stopped_in_any_thread():
    """Signals reach the main thread alone; this does not need one."""
    raised = []

    def work():
        try:
            within_limits("it", endless, seconds=0.2)
        except LimitError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert len(raised) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits addresses")
def test_what_takes_too_much_memory_is_stopped():
    """One step that asks for ten gigabytes fails, and the limit is taken away after."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(LimitError, match="takes more than 64 MiB"):
        within_limits("it", lambda: "x" * 10_000_000_000, memory=64 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_what_ends_in_time_is_returned():
    """Values, and errors of its own, come through; nothing is raised later."""
    assert within_limits("it", lambda: 7, seconds=0.05) == 7
    with pytest.raises(KeyError):
        within_limits("it", lambda: {}["a"], seconds=0.05)
    time.sleep(0.1)


def test_a_power_is_found_beside_tags_of_transformers():
    """Templates are looked through without jinja knowing the tag for what an assistant generates."""
    check_template(
        "{% for m in messages %}{% generation %}{{ m.content * 2 }}{% endgeneration %}{% endfor %}"
    )
    with pytest.raises(ValueError, match="to a power"):
        check_template("{% generation %}{{ 7 ** 9 }}{% endgeneration %}")


def test_a_text_without_end_or_with_half_a_character_is_refused(tokenizer, monkeypatch):
    """What a template writes has a length, and is Unicode."""
    import copy

    own = copy.copy(tokenizer)
    written = ["x" * 50]
    own.apply_chat_template = lambda *_args, **_options: written[0]
    bounded_chat(own)
    assert own.apply_chat_template([]) == written[0]
    monkeypatch.setattr("lazarus_probe.checkpoints.limits.MOST_TEXT", 10)
    with pytest.raises(LimitError, match="writes more than 10 characters"):
        own.apply_chat_template([])
    written[0] = "a\ud800"
    with pytest.raises(ValueError, match="a lone surrogate"):
        own.apply_chat_template([])
