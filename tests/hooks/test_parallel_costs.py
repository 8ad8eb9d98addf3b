"""What a split model costs is what it was measured to hold, to keep and to send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.checkpoints.blank import blank_model, configuration, published
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.hooks import trace
from lazarus_probe.hooks.check import layers_of_kinds
from lazarus_probe.hooks.parallel_costs import exchanges, parallel_costs
from lazarus_probe.subject import Subject, UnsupportedArchitecture
from tests.architectures import zoo
from tests.hooks.counted_exchanges import LENGTH
from tests.processes import run_ranks

MODELS = ("llama", "qwen3_moe", "deepseek_v3")


def test_a_whole_model_costs_what_it_holds(organism: Subject) -> None:
    """Weights, captured values, and keys and values have the bytes that mlx counts of them."""
    costs = parallel_costs(lambda: blank_model(configuration("organism"), "float32"), "whole", 1, 7)
    assert costs.weights == sum(weight.nbytes for _, weight in tree_flatten(organism.model.parameters()))
    tokens = mx.arange(7)[None]
    for kind, layers in layers_of_kinds(organism).items():
        if kind in PER_LAYER:
            run = trace(organism, tokens, [f"{kind}.{layer}" for layer in layers])
            assert costs.captured[kind] == sum(run[f"{kind}.{layer}"].nbytes for layer in layers)
    cache = new_cache(organism.model)
    mx.eval(organism.model(tokens, cache=cache))
    assert costs.cached == sum(entry.keys.nbytes + entry.values.nbytes for entry in cache)
    assert costs.sent == 0
    assert set(costs.read.values()) == {0}


@pytest.mark.parametrize("parallel", ["tensor", "pipeline"])
def test_a_split_model_costs_what_is_counted(tmp_path: Path, parallel: Any) -> None:
    """On two processes the weights held, and the bytes sent with and without each kind of site, are those counted."""
    ended = run_ranks(2, ["-m", "tests.hooks.counted_exchanges", str(tmp_path), parallel, *MODELS], tmp_path)
    assert [process.code for process in ended] == [0, 0], ended[0].err[-2000:] + ended[1].err[-2000:]
    counted = [json.loads((tmp_path / f"counts.{rank}.json").read_text()) for rank in range(2)]
    for name in MODELS:
        costs = parallel_costs(lambda name=name: zoo.fresh(name), parallel, 2, LENGTH)  # type: ignore[misc]
        assert costs.weights == max(process[name]["weights"] for process in counted)
        for process in counted:
            assert costs.sent == process[name]["sent"]
            assert costs.read == process[name]["read"]


def test_published_models_have_their_parameters() -> None:
    """The shapes by name have the numbers of parameters that their makers give, and take no memory."""
    expected = {
        "llama-3.1-8b": 8_030_261_248,
        "llama-3.1-70b": 70_553_706_496,
        "deepseek-v3": 671_026_419_200,
    }
    assert set(published()) == set(expected)
    before = mx.get_active_memory()
    for name, count in expected.items():
        model = blank_model(configuration(name))
        assert sum(weight.size for _, weight in tree_flatten(model.parameters())) == count
    assert mx.get_active_memory() - before < 2**20


def test_bits_are_those_of_mlx() -> None:
    """A quantised weight costs its bits, and a scale and a bias of the type for each 64 numbers."""
    whole = blank_model(configuration("llama-3.1-8b"))
    four = blank_model(configuration("llama-3.1-8b"), bits=4)
    matrices = sum(weight.size for _, weight in tree_flatten(whole.parameters()) if weight.ndim == 2)
    vectors = sum(weight.nbytes for _, weight in tree_flatten(whole.parameters()) if weight.ndim == 1)
    assert sum(weight.nbytes for _, weight in tree_flatten(four.parameters())) == matrices * 4.5 / 8 + vectors


def test_what_is_needed_grows_as_it_should() -> None:
    """Captured values count for every prompt, keys and values for each of a batch, and weights once."""
    costs = parallel_costs(lambda: zoo.fresh("llama"), "whole", 1, 5)
    one = costs.needed(["resid_post"], 1, 1)
    assert costs.needed(["resid_post"], 3, 1) - one == 2 * costs.captured["resid_post"]
    assert costs.needed(["resid_post"], 1, 4) - one == 3 * costs.cached
    assert one == costs.weights + costs.cached + costs.captured["resid_post"]


@pytest.mark.parametrize(
    ("name", "parallel", "count", "reason"),
    [
        ("gpt2", "tensor", 2, "has no `shard`"),
        ("llama", "tensor", 3, "which do not divide by 3"),
        ("llama", "pipeline", 5, "5 processes cannot share"),
    ],
)
def test_what_cannot_be_split_has_no_costs(name: str, parallel: Any, count: int, reason: str) -> None:
    """A model that cannot be split so is refused as it would be in a run."""
    with pytest.raises(UnsupportedArchitecture, match=reason):
        parallel_costs(lambda: zoo.fresh(name), parallel, count, 4)


@pytest.mark.parametrize(("parallel", "count"), [("whole", 2), ("tensor", 1), ("pipeline", 0)])
def test_numbers_of_processes(parallel: Any, count: int) -> None:
    """One process holds a whole model, several a split one."""
    with pytest.raises(ValueError, match=f"{count} processes cannot hold a model {parallel}"):
        parallel_costs(lambda: zoo.fresh("llama"), parallel, count, 4)


def test_exchanges_are_real_again() -> None:
    """After the count mlx exchanges values as before, also where the count ends with an error."""
    before = mx.distributed.all_sum
    with pytest.raises(KeyError), exchanges():  # noqa: PT012 - what is within is what is tested
        assert mx.distributed.all_sum is not before
        raise KeyError
    assert mx.distributed.all_sum is before


def test_an_unknown_name_is_refused() -> None:
    """A name that is no model's and no file is refused with what there is."""
    with pytest.raises(LoadError, match=r"llama-3\.1-9b"):
        configuration("llama-3.1-9b")
