"""`--model` and `--adapter` as this repository's names for the plugin's `--probe-model` and `--probe-adapter`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The aliases live here: in the plugin, a clash with another plugin would break every session of its user."""
    alias = "same as --probe-model; repeatable"
    parser.addoption("--model", dest="probe_model", action="append", metavar="MODEL", help=alias)
    parser.addoption("--adapter", dest="probe_adapter", metavar="FOLDER", help="same as --probe-adapter")
