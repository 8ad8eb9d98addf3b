"""`lazarus introspect directions`: cosines of saved directions, and what chance has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.introspection.directions.direction_file import Direction, write_direction


@pytest.fixture
def saved(tmp_path: Path) -> list[str]:
    """Two random directions and one near the first."""
    rng = np.random.default_rng(0)
    first, second, third = rng.normal(size=(3, 256)).astype(np.float32)
    for name, vector in (("one", first), ("two", second), ("near", first + 0.2 * third)):
        write_direction(tmp_path / f"{name}.npz", Direction(vector, 4, name, model_id="m", accuracy=0.75))
    return [f"{tmp_path}/{name}.npz" for name in ("one", "two", "near")]


def test_the_data_has_the_published_keys(
    saved: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published keys with the null beside them, the same in the file as on standard output."""
    assert main(["introspect", "directions", *saved, "-o", f"{tmp_path}/c.json", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "c.json").read_text()) == data
    assert list(data)[:5] == ["files", "names", "pairs", "mean_abs_similarity", "metadata"]
    assert data["names"] == ["one", "two", "near"]
    assert list(data["pairs"][0])[:4] == ["name_a", "name_b", "cosine_similarity", "orthogonal"]
    assert data["metadata"][0]["accuracy"] == 0.75
    assert data["null"]["expected_abs_cosine"] == pytest.approx(0.8 / np.sqrt(256), rel=0.01)
    assert data["beyond_chance"] == [["one", "near"]]


def test_orthogonal_is_said_with_what_chance_has(
    saved: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Random directions are below the threshold, and the text says that this shows no independence."""
    assert main(["introspect", "directions", *saved[:2]]) == 0
    shown = capsys.readouterr().out
    assert (
        "1 of 1 pairs are orthogonal, with a |cosine| of at most 0.1, and no pair is more alike than random"
        in shown
    )
    assert "Random vectors of dimension 256: |cosine| 0.0499 on average" in shown
    assert main(["introspect", "directions", saved[0], saved[2]]) == 0
    shown = capsys.readouterr().out
    assert "0 of 1 pairs are orthogonal" in shown
    assert "; 1 of 1 are more alike than random vectors" in shown
    assert main(["introspect", "directions", *saved[:2], "--threshold", "0.2"]) == 0
    assert "at most 0.2 (by --threshold; 0.1 is declared), and no" in capsys.readouterr().out


def test_the_threshold_decides_what_is_orthogonal(
    saved: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With a threshold below the cosine the pair is not orthogonal any more."""
    for threshold, orthogonal in (("0.1", True), ("0.0001", False)):
        assert main(["introspect", "directions", *saved[:2], "--threshold", threshold, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["pairs"][0]["orthogonal"] is orthogonal


def test_wrong_input_is_one_line(
    saved: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file, other widths, damaged files and thresholds out of range are one line and exit code 2."""
    write_direction(tmp_path / "small.json", Direction(np.ones(3, np.float32), 1))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    cases = {
        (saved[0],): "at least two",
        (saved[0], f"{tmp_path}/small.json"): "small.json has 3",
        (saved[0], f"{tmp_path}/bad.npz"): "bad.npz is not a direction",
        (saved[0], f"{tmp_path}/none.npz"): "none.npz: No such file",
        (*saved, "--threshold", "2"): "threshold is 2",
    }
    for arguments, reason in cases.items():
        assert main(["introspect", "directions", *arguments]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
