"""What the README, and the pages that it leads to, show is what works."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_probe.claims.evidence import Evidence
from lazarus_probe.claims.expectations import find_claim
from lazarus_probe.subject.control_models import control_models

ROOT = Path(__file__).parents[1]


def blocks(page: str = "README.md") -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.nested
def test_own_claim_comes_to_the_verdict_told(tmp_path):
    """The README's own claim, of 15 lines at most, runs and is called confounded by a bag of tokens."""
    claim = blocks()[0]
    lines = [line for line in claim.splitlines() if line.strip()]
    assert len(lines) <= 15
    (tmp_path / "test_mine.py").write_text(claim)
    command = [sys.executable, "-m", "pytest", "test_mine.py", "--probe-report", "reports"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "confounded: " in done.stdout, done.stdout + done.stderr
    assert re.search(r"operation-at-layer-4 +organism +confounded", done.stdout)
    assert done.returncode == 1


def test_patching_example_runs():
    """The patching example runs, and changes the logits."""
    names: dict[str, object] = {}
    exec(blocks("docs/writing_claims.md")[0], names)
    source, patched = names["source"], names["patched"]
    assert source.logits.shape == patched.logits.shape  # type: ignore[attr-defined]
    assert (source.logits != patched.logits).any().item()  # type: ignore[attr-defined]


@pytest.mark.nested
def test_falsify_example_runs(organism):
    """The search ends in a measurement that the claim can be judged by."""
    claim = find_claim(
        "arithmetic-in-every-form", ROOT / "hypotheses" / "arithmetic" / "test_arithmetic_ability.py"
    )
    evidence = Evidence(claim, seed=0)
    names: dict[str, object] = {
        "evidence": evidence,
        "subject": organism,
        "twin": organism.untrained(1),
        "untrained_models": control_models(organism),
    }
    names["answered"] = runpy.run_path(
        str(ROOT / "hypotheses" / "arithmetic" / "test_arithmetic_ability.py")
    )["answered"]
    exec(blocks("docs/writing_claims.md")[1], names)
    assert evidence.verdict().reason


def test_sweep_example_runs():
    """The sweep fills its grid, and patching the last residual brings the source's answer."""
    names: dict[str, object] = {}
    exec(blocks("docs/sweeps.md")[0], names)
    result = names["result"]
    grid = result.grid("logit_diff", source="product")  # type: ignore[attr-defined]
    assert grid.shape == (8, len(result.positions))  # type: ignore[attr-defined]
    text = result.at("answer", prompt="7+8=", source="product", site="resid_post.7", position=4)  # type: ignore[attr-defined]
    assert text.strip().startswith("56")


def test_look_inside_runs(capsys):
    """The analysis prints a line for each layer that it read."""
    exec(blocks("docs/looking_inside.md")[0], {})
    assert re.findall(r"Layer (\d+): \S* ?\S+ \(\d\.\d{4}\)", capsys.readouterr().out) == ["0", "4", "7"]


def test_the_readme_fits_two_screens():
    """It has at most 120 lines, and every page and picture that it leads to is there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} leads to {link}"
