"""Where a session will write, tried before anything runs: after an hour of claims it is too late to find out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.junitxml import xml_key

from lazarus_probe.plugin.models import label, models
from lazarus_probe.plugin.settings import report_folder


def problem_with_outputs(config: pytest.Config) -> str | None:
    """Why a report, a baseline or junitxml could not be written at the end, in one line naming the option."""
    from lazarus_probe.files.whole_files import try_file, try_folder

    if config.option.collectonly:
        return None
    chosen, folder = config.getoption("probe_report"), report_folder(config)
    try:
        try_folder(folder)
    except OSError as error:
        named = f"--probe-report {chosen}" if chosen else f"the report folder {folder.name}/ in the rootdir"
        return f"{named} cannot be written to ({error.strerror}); give another with --probe-report"
    for option, file in _files(config):
        try:
            try_file(file)
        except OSError as error:
            _write_no_xml(config)
            return f"{option}: {file} cannot be written ({error.strerror})"
    return None


def _files(config: pytest.Config) -> Iterator[tuple[str, Path]]:
    from lazarus_probe.reports.baselines import named_path, own_path

    reports = report_folder(config)
    if config.getoption("probe_update"):
        yield from (("--probe-update", own_path(reports, label(model))) for model in models(config))
    if name := config.getoption("probe_save"):
        yield f"--probe-save {name}", named_path(reports, name)
    if xml := getattr(config.option, "xmlpath", None):
        yield f"--junitxml {xml}", config.invocation_params.dir / xml


def _write_no_xml(config: pytest.Config) -> None:
    """A run that ends before it began has no junitxml: pytest's own try to write it would end in a traceback."""
    xml = config.stash.get(xml_key, None)
    if xml is not None:
        del config.stash[xml_key]
        config.pluginmanager.unregister(xml)
