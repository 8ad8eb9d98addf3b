from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

pytest_plugins = ["pytester"]

SUITE = """
import time

@claim("right")
def test_right(evidence):
    time.sleep(0.1)
    evidence.record(measured(0.95, p=0.01))

@claim("wrong")
@pytest.mark.parametrize("where", [pytest.param(1, id="a-very-long-name-" * 8)])
def test_wrong(evidence, where):
    evidence.record(measured(0.5))

def test_no_claim():
    pass
"""


def on_a_terminal(project, *arguments: str) -> str:
    """What pytest writes to a terminal of 80 columns."""
    screen, side = pty.openpty()
    quiet = [
        "-p",
        "lazarus_probe.plugin",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        f"--probe-model={project.model}",
    ]
    command = [sys.executable, "-m", "pytest", *quiet, *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    running = subprocess.Popen(
        command, stdout=side, stderr=side, stdin=side, env=environment, cwd=project.pytester.path
    )
    os.close(side)
    written = b""
    try:
        while part := os.read(screen, 4096):
            written += part
    except OSError:  # the other side has closed
        pass
    running.wait(timeout=60)
    os.close(screen)
    return written.decode()


def test_the_claim_at_work_is_shown_and_taken_away(project):
    """On a terminal each claim's name stands to the right of the dots while it runs, and pytest's own lines stay."""
    project.write(SUITE)
    text = on_a_terminal(project, "--color=no")
    shown = re.findall("\x1b\\[K\x1b7 \x1b\\[2m(.*?)\x1b\\[22m\x1b8", text)
    assert shown[0] == shown[1] == "test_right[tiny]"
    assert {len(name) for name in shown[2:]} == {80 - len("test_claims.py .") - 2}
    assert "no_claim" not in "".join(shown)
    plain = re.sub("\x1b\\[K\x1b7.*?\x1b8|\x1b\\[K", "", text)
    assert re.search(r"test_claims.py \.F\. +\[100%\]", plain)


def test_nothing_is_shown_where_nobody_watches(project):
    """Into a file, and without the terminal reporter, no such line is written."""
    project.write(SUITE)
    assert "\x1b7" not in project.run("--color=yes").stdout.str()
    project.run("-p", "no:terminal")
    assert len(project.reports()) == 2
