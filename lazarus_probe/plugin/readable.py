"""What a claim's test leaves on its report, as text that every terminal, log, file and worker can hold."""

from __future__ import annotations

import io
from warnings import WarningMessage

import pytest
from _pytest._code.code import TerminalRepr
from _pytest._io import TerminalWriter

from lazarus_probe.untrusted import in_line, on_terminal


def make_readable(report: pytest.TestReport) -> None:
    """Spell out what a report holds of control characters, halves of pairs and a CI host's commands.

    A model's answer gets into an assertion's message, a reason to skip, what the test prints, logs or records, and from
    there to the terminal and the junitxml; a worker of a parallel run cannot even send it. Where there is nothing to
    spell out a traceback stays as it was, colours and all.
    """
    _spell_longrepr(report)
    if hasattr(report, "wasxfail"):
        report.wasxfail = on_terminal(str(report.wasxfail))
    report.sections = [(in_line(name), on_terminal(content)) for name, content in report.sections]
    report.user_properties = [
        (in_line(str(name)), _property(value)) for name, value in report.user_properties
    ]


def make_warning_readable(warning: WarningMessage) -> None:
    """The same for a warning: its text takes the place of one that holds something to spell out."""
    text = str(warning.message)
    if (shown := on_terminal(text)) != text:
        warning.message = shown


def _spell_longrepr(report: pytest.TestReport) -> None:
    if isinstance(report.longrepr, tuple):  # of a test that was skipped
        path, line, reason = report.longrepr
        report.longrepr = (path, line, on_terminal(reason))
        return
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


def _property(value: object) -> object:
    """What `record_property` was given, as junitxml writes it: a number, or the text of anything else."""
    return value if type(value) in (bool, int, float) else in_line(str(value))
