"""`lazarus costs`: its options, output and errors; what it computes is tested in tests/hooks/test_parallel_costs.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.cli.parallel.costs import shown


def test_what_fits_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that is too large for one process fits several, and says which cannot be."""
    assert (
        main(
            ["costs", "organism", "--processes", "2,16", "--memory", "4MB", "--prompts", "1", "--batch", "1"]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert "tensor, 16 processes" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("whole", "tensor ", "pipeline "))]
    assert [row[:2] for row in rows] == [["whole", "1"], ["tensor", "2"], ["pipeline", "2"]]
    assert {row[-1] for row in rows} <= {"yes", "no"}


def test_json_has_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` has every number in bytes, and what is needed is the sum of its parts."""
    line = [
        "costs",
        "organism",
        "--processes",
        "2",
        "--sites",
        "neurons",
        "--prompts",
        "5",
        "--batch",
        "2",
        "--json",
    ]
    assert main(line) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    for costs in data["costs"]:
        assert costs["needed"] == costs["weights"] + 5 * costs["captured"]["neurons"] + 2 * costs["cached"]
        assert costs["fits"] is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--processes", "1"], "--processes is '1'"),
        (["--processes", "two"], "--processes is 'two'"),
        (["--sites", "resid_past"], "did you mean resid_post?"),
        (["--sites", "router_logits"], "organism has no router_logits"),
        (["--bits", "5"], "--bits is 5"),
        (["--memory", "much"], "'much'"),
    ],
)
def test_bad_options_are_named(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be computed is refused by its name and value."""
    assert main(["costs", "organism", *words]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (15_000_000, "15.0 MB"), (671_000_000_000, "671 GB")],
)
def test_bytes_are_readable(size: int, text: str) -> None:
    """Sizes have a unit that leaves up to three digits."""
    assert shown(size) == text
