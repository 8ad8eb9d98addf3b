"""Models split over processes: every value, edit, sweep and generation is the whole model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.architectures import zoo
from tests.processes import run_ranks

import mlx.core as mx  # isort: skip
import mlx_lm.models  # isort: skip

TOLERANCE = 1e-5
# Heads that share keys, norms of queries and keys, one latent for all keys, and sinks with biased experts.
EVERY_TIME = ("llama", "qwen3_moe", "deepseek_v3", "gpt_oss")
THREE = ("llama", "qwen3", "qwen3_moe", "gpt_oss")
REFUSED = {
    # The table's own sizes are too small to be divided, or groups of quantised weights are too large.
    "iquestloopcoder": "none of its 4 layers",
    "deepseek_v3_4bit": "cannot be split over 2 processes",
    "deepseek_v3_8bit": "cannot be split over 2 processes",
    "qwen3_moe_4bit": "cannot be split over 2 processes",
    "qwen3_moe_8bit": "cannot be split over 2 processes",
    "llama_biased": "cannot be split over 2 processes",
}


def _sharded() -> list[str]:
    """The architectures and variants of the table that mlx-lm can split."""
    folder = Path(next(iter(mlx_lm.models.__path__)))
    return [
        name
        for name in zoo.architectures()
        if "def shard(" in (folder / f"{zoo.model_file(name)}.py").read_text()
    ]


def _compared(folder: Path, count: int, names: list[str]) -> list[dict[str, Any]]:
    """By process, what `split_models` found of each architecture."""
    ended = run_ranks(count, ["-m", "tests.hooks.split_models", str(folder), *names], folder)
    assert [process.code for process in ended] == [0] * count, "\n".join(
        process.err[-2000:] for process in ended
    )
    return [json.loads((folder / f"differences.{rank}.json").read_text()) for rank in range(count)]


def _assert_same(differences: dict[str, Any]) -> None:
    assert "refused" not in differences, differences["refused"]
    numbers = {what: number for what, number in differences.items() if isinstance(number, float)}
    assert len(numbers) > 20, differences
    assert not {what: number for what, number in numbers.items() if not number <= TOLERANCE}
    assert not differences["checks"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found of four architectures."""
    return _compared(tmp_path_factory.mktemp("two"), 2, list(EVERY_TIME))


@pytest.mark.parametrize("name", EVERY_TIME)
def test_two_processes_are_the_whole_model(two: list[dict[str, Any]], name: str) -> None:
    """On both, every site, edit, sweep, gradient, generation, twin and check is the whole model's."""
    for differences in two:
        _assert_same(differences[name])


def test_gradients_are_whole_or_refused(two: list[dict[str, Any]]) -> None:
    """Gradients that mlx-lm leaves in parts are refused: of what all heads share, and of a router's logits."""
    for differences in two:
        assert isinstance(differences["llama"]["attribution"], float)
        assert isinstance(differences["gpt_oss"]["attribution"], float)
        assert "does not sum the gradients of deepseek_v3" in differences["deepseek_v3"]["attribution"]
        assert "as at router_logits of block" in differences["gpt_oss"]["attribution of a router"]


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 36, 6))
def test_all_that_mlx_lm_splits(tmp_path: Path, start: int) -> None:
    """So it is for each architecture that mlx-lm can split, and what cannot be told is refused by name."""
    names = [name for name in _sharded() if name not in EVERY_TIME][start : start + 6]
    for differences in _compared(tmp_path, 2, names) if names else ():
        for name in names:
            if name in REFUSED:
                assert REFUSED[name] in differences[name]["refused"]
            else:
                _assert_same(differences[name])


@pytest.mark.slow
def test_three_processes_are_the_whole_model(tmp_path: Path) -> None:
    """So it is on three processes, which share six heads and three of keys."""
    for differences in _compared(tmp_path, 3, list(THREE)):
        for name in THREE:
            _assert_same(differences[name])


def test_one_process_cannot_share(grouped: Any) -> None:
    """A single process is told how to start several, and its model is left as it was."""
    with pytest.raises(ValueError, match=r"mlx.launch -n 2"):
        grouped.split(lambda: grouped.model)
    assert mx.distributed.init().size() == 1
    assert grouped.anatomy.ranks is None
