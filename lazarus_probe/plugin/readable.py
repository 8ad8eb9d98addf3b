"""The failure of a claim's test as lines that every terminal, log, file and worker can hold."""

from __future__ import annotations

import io

import pytest
from _pytest._code.code import TerminalRepr
from _pytest._io import TerminalWriter

from lazarus_probe.reports.untrusted import in_line, on_terminal


def make_readable(report: pytest.TestReport) -> None:
    """Spell out what a report's traceback holds of control characters, halves of pairs and a CI host's commands.

    A model's answer gets into an assertion's message, and from there to the terminal; a worker of a parallel run cannot
    even send it. Where there is nothing to spell out the traceback stays as it was, colours and all.
    """
    text = _text(report.longrepr)
    if text is None or (shown := on_terminal(text)) == text:
        return
    crash = getattr(report.longrepr, "reprcrash", None)  # pytest's summary has the first line of a text
    report.longrepr = f"{in_line(crash.message)}\n{shown}" if crash else shown


def _text(longrepr: object) -> str | None:
    if isinstance(longrepr, TerminalRepr):
        file = io.StringIO()
        writer = TerminalWriter(file)
        writer.hasmarkup = False  # colours may be forced, and are no part of the text
        longrepr.toterminal(writer)
        return file.getvalue()
    return longrepr if isinstance(longrepr, str) else None
