"""The pytest plugin. Nothing heavy is imported until a claim runs: it loads in every session of its user."""

from lazarus_probe.plugin.collection import pytest_collection_modifyitems
from lazarus_probe.plugin.fixtures import activations, evidence, hooks, lora, rng, subject, twin
from lazarus_probe.plugin.models import pytest_generate_tests
from lazarus_probe.plugin.options import pytest_addoption, pytest_configure, pytest_report_header
from lazarus_probe.plugin.outcomes import pytest_runtest_makereport

__all__ = [
    "activations",
    "evidence",
    "hooks",
    "lora",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_report_header",
    "pytest_runtest_makereport",
    "rng",
    "subject",
    "twin",
]
