"""A training over processes is one training: on every process the same weights, and those of one process alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.subject import Subject
from lazarus_probe.training.batches import Sample, collate
from lazarus_probe.training.losses import sft_loss
from lazarus_probe.training.over_processes import rows_of_process
from tests.architectures import zoo
from tests.processes import run_ranks

SAMPLES = [Sample(tuple(range(i, i + 3 + 3 * i)), 2, i % 3) for i in range(1, 6)]


def _runs(count: int, folder: Path) -> tuple[int, Path]:
    ended = run_ranks(count, ["-m", "tests.training.process_runs", str(folder)], folder)
    assert [process.code for process in ended] == [0] * count, "".join(process.err for process in ended)
    return count, folder


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """The folder with what two processes wrote."""
    return _runs(2, tmp_path_factory.mktemp("trained"))


def _check_trained(runs: tuple[int, Path]) -> None:
    count, folder = runs
    for name in ("compiled", "as written", "dropout"):
        of_ranks = [np.load(folder / f"{name}.{rank}.npz") for rank in range(count)]
        for array in of_ranks[0].files:
            assert all(rank[array].tobytes() == of_ranks[0][array].tobytes() for rank in of_ranks), (
                name,
                array,
            )
        if name == "dropout":
            continue
        alone = np.load(folder / f"{name}.alone.npz")
        assert set(alone.files) == set(of_ranks[0].files)
        for array in set(alone.files) - {"key"}:
            np.testing.assert_allclose(of_ranks[0][array], alone[array], rtol=0, atol=1e-5, err_msg=array)
        moved = max(np.abs(alone[array]).max() for array in alone.files if array.endswith("lora_b"))
        assert moved > 1e-2, "LoRA begins at 0"


def _check_sums(runs: tuple[int, Path]) -> None:
    count, folder = runs
    texts = [(folder / f"sums.{rank}.json").read_text() for rank in range(count)]
    assert len(set(texts)) == 1
    sums: dict[str, Any] = json.loads(texts[0])
    generators = [np.random.default_rng(rank) for rank in range(count)]
    expected = np.sum([rng.normal(size=(300, 70)).astype(np.float32) for rng in generators], axis=0)
    np.testing.assert_allclose(sums["large"][1], expected, atol=1e-5)
    assert [sums[name][0] for name in ("large", "half.0", "half.1")] == [
        "mlx.core.float32",
        "mlx.core.float16",
        "mlx.core.float32",
    ]


def test_two_processes_train_what_one_does(of_two: tuple[int, Path]) -> None:
    """LoRA of unequal rows is the same on two processes to the last bit, and that of one process within 1e-5."""
    _check_trained(of_two)


def test_sums_are_alike(of_two: tuple[int, Path]) -> None:
    """A sum over processes has each array's shape and type, and the same bits in every process."""
    _check_sums(of_two)


@pytest.mark.slow
def test_three_processes_train_what_one_does(tmp_path: Path) -> None:
    """And so it is on three, where the order of a sum matters."""
    runs = _runs(3, tmp_path)
    _check_trained(runs)
    _check_sums(runs)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_add_up_to_the_step(size: int) -> None:
    """The losses of the processes' rows, of unequal lengths, add up to the step's mean over tokens and classes."""
    subject = Subject.from_model(zoo.fresh("llama"), name="llama")
    loss = sft_loss(subject, 0, 0.3)
    whole = collate([SAMPLES[:3], SAMPLES[3:]], rows=4)
    parts = [[rows_of_process(batch, rank, size) for batch in whole] for rank in range(size)]
    assert {tuple(batch.tokens.shape for batch in own) for own in parts} == {
        tuple((-(-4 // size), *batch.tokens.shape[1:]) for batch in whole)
    }
    shares = [float(np.array(loss(*batch)[0])) for own in parts for batch in own]
    assert sum(shares) == pytest.approx(sum(float(np.array(loss(*batch)[0])) for batch in whole), abs=1e-6)
    tokens = [row for own in parts for batch in own for row in np.array(batch.learned).sum(axis=1) if row]
    assert sorted(tokens) == sorted(len(sample.tokens) - sample.prompt_length for sample in SAMPLES)


@pytest.mark.nested
def test_a_fine_tuning_over_processes(tmp_path: Path) -> None:
    """`train sft --parallel data` writes once, resumes, and keeps the adapter that one process trains."""
    rows = [{"prompt": f"{a}+{b}=", "response": str(a * b)} for a in range(2, 40, 3) for b in (3, 41)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def words(folder: str, steps: int) -> list[str]:
        settings = (
            f"--max-steps {steps} --batch-size 5 --accumulate 2 --lora-rank 4 --learning-rate 0.003".split()
        )
        evaluated = ["--eval-share", "0.3", "--eval-interval", "2"]
        places = ["--data", str(data), "--output", str(tmp_path / folder)]
        return ["train", "sft", "--model", "organism", *places, *settings, *evaluated]

    assert main(words("alone", 6)) == 0
    command = ["-m", "lazarus_probe.cli.lazarus", *words("together", 6), "--parallel", "data"]
    first, second = run_ranks(2, command, tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert second.out == ""
    again, _ = run_ranks(2, command, tmp_path)
    assert again.code == 0, again.err
    assert "resuming after step 6 of 6" in again.out
    weights = [mx.load(str(tmp_path / name / "adapters.safetensors")) for name in ("alone", "together")]
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        np.testing.assert_allclose(
            np.array(weights[1][name]), np.array(value), rtol=0, atol=1e-5, err_msg=name
        )
    logs = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("alone", "together")]
    assert len(logs[0]) == len(logs[1]) == 7
