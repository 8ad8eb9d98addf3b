"""The guide does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import console_blocks

GUIDE = (console_blocks.ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


@pytest.mark.nested
def test_claim_of_the_guide_is_confounded(tmp_path: Path):
    """The guide's test runs as it stands there, and ends in the verdict that is told, on both models."""
    console_blocks.write_files(GUIDE, tmp_path)
    models = ["--probe-model", "organism", "--probe-model", "organism-untrained"]
    command = [sys.executable, "-m", "pytest", "test_task_type.py", *models]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"task-type-baked-in +organism +confounded", done.stdout)
    assert re.search(r"task-type-baked-in +organism-untrained +confounded", done.stdout)


def test_what_is_shown_is_of_the_commands_above_it():
    """Every console block of the guide shows output, and none of a machine's own paths."""
    blocks = [match[0] for match in console_blocks.CONSOLE.finditer(GUIDE)]
    assert len(blocks) == 4
    assert all(block.count("\n") > 3 for block in blocks)
    assert "rootdir" not in GUIDE
