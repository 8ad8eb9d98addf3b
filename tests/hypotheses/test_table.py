"""The table of claims in docs/, against the claims and the baseline that it is made from."""

from __future__ import annotations

import sys
from pathlib import Path

from lazarus_probe.claims.claim import make_claim

sys.path.insert(0, str(Path(__file__).parent))
import table


def test_the_table_is_up_to_date():
    """docs/claims.md is what the claims and the organism's baseline make: run python tests/hypotheses/table.py."""
    assert table.DOCS.read_text(encoding="utf-8") == table.render()


def test_a_claim_is_one_row():
    """A row holds what was published, for which model, and the counted verdicts of its cases."""
    fields = {
        "id": "gate", "statement": "L22 | gates.", "source": "a paper", "family": "f", "kind": "absence",
        "threshold": 0.1, "controls": ["c"], "needs": ["moe"],
        "published": {"gpt-oss-20b": {"layer": 22, "layers": 24, "value": 0.5}},
    }  # fmt: skip
    baseline = {
        "gate[L0]": {"outcome": "refuted"},
        "gate[L1]": {"outcome": "refuted"},
        "gates": {"outcome": "supported"},
    }
    cells = table.row(make_claim(fields, "here"), baseline)
    assert cells == [
        "`gate`",
        "L22 | gates.",
        "gpt-oss-20b 0.5 at L22 of 24",
        "absence",
        "moe",
        "f",
        "2 refuted",
    ]


def test_verdicts_without_cases():
    """One case is its verdict; a claim that the baseline does not hold says so."""
    assert table.verdicts("a", {"a": {"outcome": "supported"}}) == "supported"
    assert table.verdicts("b", {"a": {"outcome": "supported"}}) == "not in the baseline"
