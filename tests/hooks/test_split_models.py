"""Models split over processes: every value, edit, sweep and generation is the whole model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.anatomy.pipeline_parallel import stage_holders
from lazarus_probe.subject.one_run import KINDS, Parallel
from tests.architectures import zoo
from tests.processes import run_ranks

import mlx.core as mx  # isort: skip
import mlx_lm.models  # isort: skip

TOLERANCE = 1e-5
# Heads that share keys, norms of queries and keys, one latent for all keys, and sinks with biased experts.
EVERY_TIME = ("llama", "qwen3_moe", "deepseek_v3", "gpt_oss")
THREE = ("llama", "qwen3", "qwen3_moe", "gpt_oss")
# In a pipeline: a mixture, and a model that hands on several streams, keys and candidates from block to block.
STAGED_EVERY_TIME = ("qwen3_moe", "deepseek_v41")
STAGED_OF_THREE = ("llama", "deepseek_v41", "bailing_hybrid", "qwen3_moe_4bit")
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


def _staged() -> list[str]:
    """The architectures and variants of the table that mlx-lm can put in a pipeline."""
    folder = Path(next(iter(mlx_lm.models.__path__)))
    return [
        name
        for name in zoo.architectures()
        if "PipelineMixin" in (folder / f"{zoo.model_file(name)}.py").read_text()
    ]


def _compared(
    folder: Path, count: int, names: list[str], parallel: Parallel = "tensor"
) -> list[dict[str, Any]]:
    """By process, what `split_models` found of each architecture."""
    ended = run_ranks(count, ["-m", "tests.hooks.split_models", str(folder), parallel, *names], folder)
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
    """On both, every site, edit, sweep, gradient, generation, untrained model and check is the whole model's."""
    for differences in two:
        _assert_same(differences[name])


def test_gradients_are_whole_or_refused(two: list[dict[str, Any]]) -> None:
    """Gradients that mlx-lm leaves in parts are refused: of what all heads share, and of a router's logits."""
    for differences in two:
        assert isinstance(differences["llama"]["attribution"], float)
        assert isinstance(differences["gpt_oss"]["attribution"], float)
        assert "does not sum the gradients of deepseek_v3" in differences["deepseek_v3"]["attribution"]
        assert "as at router_logits of block" in differences["gpt_oss"]["attribution of a router"]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found of three architectures in a pipeline, one of which cannot be put in one."""
    return _compared(
        tmp_path_factory.mktemp("staged"), 2, [*STAGED_EVERY_TIME, "gemma3n"], parallel="pipeline"
    )


@pytest.mark.parametrize("name", STAGED_EVERY_TIME)
def test_a_pipeline_is_the_whole_model(staged: list[dict[str, Any]], name: str) -> None:
    """In a pipeline, too, every site, edit, sweep, generation, untrained model and check is the same on both."""
    for differences in staged:
        _assert_same(differences[name])
        assert "gradients do not go back" in differences[name]["attribution"]


def test_what_crosses_stages_unseen_is_refused(staged: list[dict[str, Any]]) -> None:
    """A model whose later blocks use the keys that an earlier one has cached is refused by name."""
    for differences in staged:
        assert "gemma3n cannot be put in a pipeline" in differences["gemma3n"]["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 24, 6))
def test_all_pipelines_of_mlx_lm(tmp_path: Path, start: int) -> None:
    """So it is for each architecture that mlx-lm can put in a pipeline."""
    names = [name for name in _staged() if name not in STAGED_EVERY_TIME][start : start + 6]
    for differences in _compared(tmp_path, 2, names, "pipeline") if names else ():
        for name in names:
            _assert_same(differences[name])


@pytest.mark.slow
def test_three_stages_are_the_whole_model(tmp_path: Path) -> None:
    """So it is on three processes, the middle one of which hands on what it was handed."""
    for differences in _compared(tmp_path, 3, list(STAGED_OF_THREE), "pipeline"):
        for name in STAGED_OF_THREE:
            _assert_same(differences[name])


def test_stages_cover_the_blocks() -> None:
    """Every process holds neighbouring blocks, at least one, and of blocks of one size about as many as the others."""
    for count in range(1, 9):
        for sizes in ([1] * 9, [7, 1, 1, 1, 1, 1, 1, 1, 9], [0] * 8, [100, *[1] * 7]):
            holders = stage_holders(sizes, count)
            assert len(holders) == len(sizes)
            assert sorted(set(holders)) == list(range(count))
            assert holders == sorted(holders)
    shares = [stage_holders([1] * 30, 4).count(rank) for rank in range(4)]
    assert max(shares) - min(shares) <= 1
    assert stage_holders([3, 1, 1, 1], 2) == [0, 1, 1, 1]


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
    for parallel in KINDS:
        with pytest.raises(ValueError, match=r"mlx.launch -n 2"):
            grouped.split(lambda: grouped.model, parallel)
    assert mx.distributed.init().size() == 1
    assert grouped.anatomy.ranks is None
