"""What the options of a session mean: folders, and the changes of a verdict that fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.files.paths import user_path

if TYPE_CHECKING:
    from lazarus_probe.claims.change import Change

CHANGES: pytest.StashKey[frozenset[Change]] = pytest.StashKey()


def report_folder(config: pytest.Config) -> Path:
    """Where runs and baselines are kept."""
    option = config.getoption("probe_report")
    if not option:
        return config.rootpath / "reports"
    return config.invocation_params.dir / user_path(option)  # whatever a test changes to


def fail_on(config: pytest.Config) -> frozenset[Change]:
    """The changes of a verdict that fail.

    Raises:
        pytest.UsageError: `--probe-fail-on` names one that there is not.
    """
    option = config.getoption("probe_fail_on")
    if CHANGES not in config.stash:
        from lazarus_probe.claims.change import WORSE, read_changes

        try:
            config.stash[CHANGES] = WORSE if option is None else read_changes(option, "--probe-fail-on")
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[CHANGES]


def activations_folder(config: pytest.Config) -> Path | None:
    """Where activations are kept on disk, if they are."""
    if option := config.getoption("probe_activations"):
        return config.invocation_params.dir / user_path(option)  # whatever a test changes to
    ini = config.getini("probe_activations")
    return config.rootpath / user_path(ini) if ini else None
