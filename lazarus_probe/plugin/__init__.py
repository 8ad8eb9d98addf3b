"""The pytest plugin. Nothing heavy is imported until a claim runs: it loads in every session of its user."""

from lazarus_probe.plugin.collection import pytest_collection_modifyitems
from lazarus_probe.plugin.fixtures import (
    ability,
    activations,
    base,
    completions,
    evidence,
    family_rng,
    hooks,
    lora,
    probe_seed,
    rng,
    subject,
    twin,
    untrained_models,
)
from lazarus_probe.plugin.models import pytest_generate_tests
from lazarus_probe.plugin.options import (
    pytest_addoption,
    pytest_configure,
    pytest_load_initial_conftests,
    pytest_report_header,
)
from lazarus_probe.plugin.outcomes import pytest_runtest_makereport
from lazarus_probe.plugin.parallel import pytest_cmdline_main, pytest_xdist_make_scheduler
from lazarus_probe.plugin.pooled import pytest_runtest_call, pytest_runtest_setup

pytest_plugins = [
    "lazarus_probe.plugin.profiles",
    "lazarus_probe.plugin.watching",
    "lazarus_probe.plugin.claim_lines",
    "lazarus_probe.plugin.expected",
]

__all__ = [
    "ability",
    "activations",
    "base",
    "completions",
    "evidence",
    "family_rng",
    "hooks",
    "lora",
    "probe_seed",
    "pytest_addoption",
    "pytest_cmdline_main",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_load_initial_conftests",
    "pytest_report_header",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_xdist_make_scheduler",
    "rng",
    "subject",
    "twin",
    "untrained_models",
]
