from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

HEAVY = (
    "huggingface_hub", "matplotlib", "mlx", "mlx_lm", "numpy", "pydantic", "rich", "safetensors", "scipy", "sklearn",
    "tokenizers", "transformers", "typer", "yaml",
)  # fmt: skip
ROOT = Path(__file__).parents[2]


def loaded(code: str, folder: Path) -> set[str]:
    """The top-level modules that some code leaves in a fresh process."""
    show = "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    command = [sys.executable, "-c", path + code + show]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout
    return set(output.rpartition("LOADED")[2].split())


def test_loading_the_plugin_imports_nothing_heavy(tmp_path):
    """The plugin loads in every session of its user, so it imports pytest and the standard library alone."""
    found = loaded("import lazarus_probe.plugin", tmp_path)
    assert "lazarus_probe" in found
    assert not found & set(HEAVY)


def test_a_session_without_claims_imports_nothing_heavy(tmp_path):
    """Nor does collecting and running tests that decide no claim."""
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass")
    code = (
        "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"
        "import pytest; assert pytest.main(['-q', '-p', 'lazarus_probe.plugin']) == 0"
    )
    assert not loaded(code, tmp_path) & set(HEAVY)


def test_the_entry_point_names_the_plugin():
    """Installing the package is enough for pytest to find its plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    plugin = import_module(project["entry-points"]["pytest11"]["lazarus_probe"])
    assert plugin.pytest_addoption.__module__ == "lazarus_probe.plugin.options"
