"""On a terminal, the running claim stands next to pytest's dots: it takes seconds, and a dot comes when it is over."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from lazarus_probe.plugin.collection import is_claim

KEEP, BACK, CLEAR, DIM, PLAIN = "\x1b7", "\x1b8", "\x1b[K", "\x1b[2m", "\x1b[22m"
LEAST = 12  # columns that must be free


def pytest_configure(config: pytest.Config) -> None:
    """Watch, where somebody does."""
    config.pluginmanager.register(Watching(config), "lazarus_probe-watching")


class Watching:
    """Writes the name of a claim's test to the right of the cursor, and takes it away before pytest goes on.

    It does so between the phases of a test: within them, what is written to the terminal is captured.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.names: dict[str, str] = {}
        self.shown = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn which tests decide a claim."""
        self.names = {item.nodeid: item.name for item in session.items if is_claim(item)}

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say what is prepared: the first claim of a model loads it."""
        self._show(nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Give the line back to pytest, and after the preparation say what is measured."""
        self._clear()
        yield
        if report.when == "setup" and report.passed:
            self._show(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Leave nothing behind."""
        self._clear()

    def _show(self, nodeid: str) -> None:
        file, name = self._screen(), self.names.get(nodeid)
        if file is None or name is None:
            return
        writer = self.config.get_terminal_writer()
        room = writer.fullwidth - writer.width_of_current_line - 2
        if room < LEAST:
            return
        name = name if len(name) <= room else f"{name[: room - 1]}…"
        file.write(f"{CLEAR}{KEEP} {DIM}{name}{PLAIN}{BACK}")
        file.flush()
        self.shown = True

    def _clear(self) -> None:
        file = self._screen()
        if self.shown and file is not None:
            file.write(CLEAR)
            file.flush()
        self.shown = False

    def _screen(self) -> Any:
        """Where pytest writes its dots, if that is a terminal and nothing else is written there; else None.

        Its writer counts the columns of all that goes through it, so this goes past it.
        """
        option, reporter = self.config.option, self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not reporter.isatty or os.environ.get("TERM", "dumb") == "dumb":
            return None
        busy = option.verbose > 0 or option.capture == "no" or getattr(option, "numprocesses", None)
        return None if busy else getattr(self.config.get_terminal_writer(), "_file", None)
