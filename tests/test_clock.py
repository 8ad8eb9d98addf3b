"""The clock of commands, on a terminal of its own: shown while nothing else is, and never in what is piped."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SCRIPT = """
import sys, time
from lazarus_probe.clock import replaced, running
with running("thinking", after=0.05):
    time.sleep(float(sys.argv[1]))
    if "other" in sys.argv:
        with replaced():
            print("a bar", file=sys.stderr, flush=True)
            time.sleep(0.5)
    print("result", flush=True)
    time.sleep(0.4)
    print("end", flush=True)
"""


def run(*arguments, terminal=True):
    """What a script writes to standard output and to standard error, a terminal or a pipe."""
    command = [sys.executable, "-c", SCRIPT, *arguments]
    if not terminal:
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        return done.stdout, done.stderr
    ours, theirs = pty.openpty()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True, text=True)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return done.stdout, shown.decode()


def test_a_command_that_takes_long_shows_its_time_until_it_has_output():
    """The clock is on the terminal alone, and gone when the result comes."""
    out, shown = run("0.6")
    assert out == "result\nend\n"
    assert "thinking" in shown
    assert "0:00:0" in shown
    before = shown.rfind("thinking")
    assert "\x1b[2K" in shown[before:], "the last line is cleared"


def test_a_short_command_and_one_without_a_terminal_show_nothing():
    """Below the delay, or where standard error is a file, nothing is written to it."""
    assert run("0") == ("result\nend\n", "")
    assert run("0.6", terminal=False) == ("result\nend\n", "")


def test_a_bar_takes_the_place_of_the_clock():
    """While something else is shown the clock is not."""
    out, shown = run("0", "other")
    assert out == "result\nend\n"
    assert shown.replace("\r", "") == "a bar\n"
