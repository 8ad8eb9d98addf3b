"""The page of first names prints what it says."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import console_blocks

DOCS = console_blocks.ROOT / "docs"


def test_the_first_names_print_what_stands_below_them():
    """Each block of the page runs after those before it, and its output is the one shown."""
    text = (DOCS / "from_python.md").read_text(encoding="utf-8")
    test = doctest.DocTestParser().get_doctest(text.replace("```", ""), {}, "from_python.md", None, 0)
    for name in ("probe", "rate", "trace", "patch", "sweep", "tasks"):
        assert f"## `{name}`" in text
    failures: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(test, out=failures.append)
    assert results.attempted > 25
    assert not failures, "".join(failures)


@pytest.mark.nested
def test_the_causal_claims_come_to_the_verdicts_shown(tmp_path):
    """All tests of the page run as they stand there, and the rows of their verdicts are in it."""
    text = (DOCS / "causal_claims.md").read_text(encoding="utf-8")
    console_blocks.write_files(text, tmp_path)
    files = sorted(console_blocks.files_of(text))
    assert files == ["test_answers.py", "test_causal.py", "test_heads.py"]
    command = [sys.executable, "-m", "pytest", *files, "--probe-model", "organism", "-p", "no:cacheprovider"]
    wide = {**os.environ, "COLUMNS": str(console_blocks.WIDTH)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=wide)
    rows = {}
    for printed in (done.stdout, text):
        row = r"^(product-at-equals-sign|multiplies|a-head-reads-the-operator) +organism +(\w+) +([\d.]+ +\S+ \S+)"
        found = re.findall(row, printed, re.MULTILINE)
        rows[printed] = {claim: (verdict, " ".join(numbers.split())) for claim, verdict, numbers in found}
    assert set(rows[text]) == {"product-at-equals-sign", "multiplies", "a-head-reads-the-operator"}
    assert rows[done.stdout] == rows[text], done.stdout + done.stderr
