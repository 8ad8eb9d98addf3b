"""The list of models on this machine."""

from __future__ import annotations

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.organisms import bundled


@pytest.mark.parametrize("columns", ["40", "80", "300"])
def test_a_path_is_never_broken(columns, monkeypatch, capsys):
    """However narrow the terminal, the whole path of a model stands on one line."""
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in bundled.names():
        path = f" {bundled.path(name)}"
        assert any(line.endswith(path) for line in lines)
