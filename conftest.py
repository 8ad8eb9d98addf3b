"""`--model` as this repository's name for the plugin's `--probe-model`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The alias lives here: in the plugin, a clash with another plugin would break every session of its user."""
    alias = "same as --probe-model; repeatable"
    parser.addoption("--model", dest="probe_model", action="append", metavar="MODEL", help=alias)
