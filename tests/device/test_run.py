"""`make device` on the CPU: what it checks holds there, and what is wrong is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.device import run


def test_a_dense_model_holds_in_every_precision(capsys, monkeypatch, tmp_path):
    """Float32 is the reference itself, half precisions are near it, hooks hold, and no page is written."""
    monkeypatch.setattr(run, "PAGE", tmp_path / "device.md")
    assert run.main(["--architectures", "llama"]) == 0
    name, hooks, *precisions = capsys.readouterr().out.splitlines()[0].split("  ")
    assert (name, hooks) == ("llama", "holds")
    distances = [float(text.partition(" ")[0]) for text in precisions]
    assert 0 == distances[0] < distances[1] < distances[2]
    assert not (tmp_path / "device.md").exists()


def test_what_mlx_cannot_compute_is_named():
    """Experts have no half precision on the CPU: that is said, and is no failure."""
    parity = run.parity("mixtral", run.mx.Device(run.mx.cpu))
    assert parity["float32"].distance == 0
    assert "only supports float32" in str(parity["float16"])
    assert parity["float16"].holds


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_a_wrong_precision_fails(kind, monkeypatch, capsys):
    """A model that computes something else in a precision does not hold, and the exit code says so."""

    def wrong(value, dtype):
        cast = value.astype(dtype)
        return cast * 1.5 if str(dtype).endswith(f".{kind}") and value.ndim == 2 else cast

    monkeypatch.setattr(run, "_cast", wrong)
    assert run.main(["--architectures", "llama"]) == 1
    assert "FAILS" in capsys.readouterr().out


def test_the_page_has_times_beside_the_cpus(monkeypatch, capsys, tmp_path):
    """Where there is another device, everything is timed on both, and the page is written."""
    monkeypatch.setattr(run, "PAGE", tmp_path / "device.md")
    monkeypatch.setattr(run.mx, "gpu", run.mx.cpu)
    ran = []
    monkeypatch.setattr(run, "seconds", lambda job, _device: ran.append(job()) or 0.5)
    assert run.main(["--architectures", "llama"]) == 0
    page = (tmp_path / "device.md").read_text()
    assert (
        len([line for line in page.splitlines() if line.startswith("| ")]) == 1 + 2 + 1 + len(run.jobs()) + 1
    )
    assert "| 10 steps of LoRA | 0.500 | 0.500 | 1.0 |" in page
    assert len(ran) == 2 * len(run.jobs())
    assert capsys.readouterr().out.endswith(page + "\n")
