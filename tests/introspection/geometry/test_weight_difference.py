"""Differences of weights, against NumPy on the weights themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import linear_to_lora_layers

from lazarus_probe.introspection.geometry import weight_difference as analysis
from lazarus_probe.introspection.geometry.weight_difference import weight_difference
from lazarus_probe.introspection.geometry.weights import weights_of
from lazarus_probe.subject.subject import Subject


@pytest.fixture(scope="module")
def pair(make_llama: Any) -> tuple[Subject, Subject]:
    """Two random models of one shape, with biases and a head of their own."""
    settings = {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}
    return tuple(Subject.from_model(make_llama(seed, **settings), None, f"model-{seed}") for seed in (0, 1))  # type: ignore[return-value]


def test_every_weight_is_compared(pair: tuple[Subject, Subject]):
    """Each array of the model has one row, with the numbers that NumPy gives for it."""
    first, second = (dict(tree_flatten(one.model.parameters())) for one in pair)
    found = weight_difference(*pair)
    assert sorted(each.name for each in found.results) == sorted(first)
    for each in found.results:
        one, two = (np.array(weights[each.name], dtype=np.float64) for weights in (first, second))
        assert each.relative_diff == pytest.approx(np.linalg.norm(two - one) / np.linalg.norm(one), rel=1e-6)
        assert each.cosine == pytest.approx(
            (one * two).sum() / np.linalg.norm(one) / np.linalg.norm(two), abs=1e-6
        )
        assert each.max_diff == pytest.approx(np.abs(two - one).max())
        if one.ndim == 2:
            values = np.linalg.svd(two - one, compute_uv=False)
            assert each.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2)
            assert each.rank == min(one.shape)
    whole = [np.concatenate([np.array(w[name]).ravel() for name in first]) for w in (first, second)]
    assert found.total == pytest.approx(
        np.linalg.norm(whole[1] - whole[0]) / np.linalg.norm(whole[0]), rel=1e-5
    )


def test_components_have_the_usual_names(pair: tuple[Subject, Subject]):
    """The published mlp_down and attn_o, all other projections, norms, biases, embedding and head."""
    rows = {(weight.layer, weight.component) for weight in weights_of(pair[0])}
    parts = ["attn_q", "attn_k", "attn_v", "attn_o", "mlp_gate", "mlp_up", "mlp_down"]
    expected = [*parts, *(f"{part}_bias" for part in parts), "input_layernorm", "post_attention_layernorm"]
    assert {component for layer, component in rows if layer == 3} == {*expected}
    assert {component for layer, component in rows if layer is None} == {"embedding", "final_norm", "head"}


def test_a_model_does_not_differ_from_itself(pair: tuple[Subject, Subject]):
    """All differences are 0, all cosines exactly 1, and nothing is on top."""
    found = weight_difference(pair[0], pair[0])
    assert {(each.relative_diff, each.cosine, each.max_diff) for each in found.results} == {(0.0, 1.0, 0.0)}
    assert found.total == 0
    assert found.top() == []
    assert not any(each.large for each in found.results)


def test_one_changed_weight_is_the_only_one(make_llama: Any):
    """A change of known rank and size in one projection is found there, and nowhere else."""
    base, other = (Subject.from_model(make_llama(), None, name) for name in ("base", "other"))
    place: Any = other.model.layers[2].mlp.down_proj
    rng = np.random.default_rng(0)
    change = rng.normal(size=(32, 2)) @ rng.normal(size=(2, 48))
    change *= 0.5 * np.linalg.norm(np.array(place.weight)) / np.linalg.norm(change)
    place.weight = place.weight + mx.array(change.astype(np.float32))
    found = weight_difference(base, other)
    (changed,) = [each for each in found.results if each.norm_diff > 0]
    assert (changed.layer, changed.component, changed.rank, changed.large) == (2, "mlp_down", 2, True)
    assert changed.relative_diff == pytest.approx(0.5, rel=1e-5)
    assert found.top() == [changed]
    assert found.as_data()["changed"] == 1
    assert "<table>" in found._repr_html_()


def test_lora_is_part_of_the_weight_it_is_on(make_llama: Any):
    """An adapter shows as a difference of its rank and size, under the plain name of its projection."""
    base, other = (Subject.from_model(make_llama(), None, name) for name in ("base", "other"))
    linear_to_lora_layers(
        other.model, 1, {"rank": 3, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.o_proj"]}
    )
    lora: Any = other.model.layers[3].self_attn.o_proj
    lora.lora_b = mx.random.normal(lora.lora_b.shape, key=mx.random.key(1))
    (changed,) = [each for each in weight_difference(base, other).results if each.norm_diff > 0]
    expected = 2.0 * np.array(lora.lora_b).T @ np.array(lora.lora_a).T
    assert (changed.layer, changed.component, changed.rank) == (3, "attn_o", 3)
    assert changed.norm_diff == pytest.approx(np.linalg.norm(expected), rel=1e-4)


def test_quantised_weights_are_the_numbers_they_stand_for(make_llama: Any):
    """Against its own quantisation a model differs by the rounding that dequantising shows, by name and shape alike."""
    base = Subject.from_model(make_llama(hidden_size=64, intermediate_size=64), None, "base")
    other = Subject.from_model(make_llama(hidden_size=64, intermediate_size=64), None, "other")
    nn.quantize(other.model, group_size=32, bits=4)
    other = Subject.from_model(other.model, None, "other")
    found = {each.name: each for each in weight_difference(base, other).results}
    assert sorted(found) == sorted(name for name, _ in tree_flatten(base.model.parameters()))
    name = "model.layers.1.mlp.up_proj.weight"
    module: Any = other.model.layers[1].mlp.up_proj
    plain = mx.dequantize(module.weight, module.scales, module.biases, 32, 4)
    own = dict(tree_flatten(base.model.parameters()))[name]
    assert found[name].norm_diff == pytest.approx(mx.linalg.norm(plain - own).item(), rel=1e-5)
    assert 0.01 < (found[name].relative_diff or 0) < 0.3
    assert found["model.norm.weight"].norm_diff == 0


def test_experts_and_routers_have_names_of_their_own():
    """A mixture's experts, stacked on one axis, and its router are rows like all others."""
    from mlx_lm.models.gpt_oss import Model, ModelArgs

    args = ModelArgs(
        num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2, vocab_size=32, hidden_size=32,
        intermediate_size=32, head_dim=8, num_attention_heads=4, num_key_value_heads=2,
        rope_scaling=None,
    )  # fmt: skip
    base, other = (Subject.from_model(Model(args), None, name) for name in ("base", "other"))
    found = weight_difference(base, other)
    rows = {each.component: each for each in found.results if each.layer == 1}
    assert {"router", "router_bias", "experts_down", "experts_up", "experts_gate", "attn_o"} <= {*rows}
    assert rows["experts_down"].shape[0] == 4
    assert 1 < (rows["experts_down"].stable_rank or 0) <= 32


def test_other_shapes_are_refused_by_name(make_llama: Any):
    """The first setting or weight that differs is named, with both values."""
    base = Subject.from_model(make_llama(), None, "base")
    for changes, said in (
        ({"num_hidden_layers": 3}, "layers is 4 in the first and 3 in the second"),
        ({"hidden_size": 64}, "width is 32 in the first and 64 in the second"),
        ({"intermediate_size": 40}, r"mlp.down_proj.weight is \(32, 48\) in base and \(32, 40\) in other"),
        ({"tie_word_embeddings": False}, "lm_head.weight is only in other"),
        ({"mlp_bias": True}, "bias is only in other"),
    ):
        with pytest.raises(ValueError, match=said):
            weight_difference(base, Subject.from_model(make_llama(**changes), None, "other"))


def test_large_matrices_have_a_stable_rank_too(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[Subject, Subject]
):
    """Power iteration finds the largest singular value that the decomposition gives."""
    exact = {each.name: each.stable_rank for each in weight_difference(*pair).results}
    monkeypatch.setattr(analysis, "SVD_SIZE", 1)
    for each in weight_difference(*pair).results:
        if each.stable_rank is not None:
            assert each.rank is None
            assert each.stable_rank == pytest.approx(exact[each.name], rel=2e-2)


def test_half_precision_is_compared_in_float32(make_llama: Any):
    """Weights in bfloat16 give the differences of the same numbers in float32."""
    whole, half = (Subject.from_model(make_llama(seed), None, str(seed)) for seed in (0, 1))
    for one in (whole, half):
        one.model.update(tree_map(lambda weight: weight.astype(mx.bfloat16), one.model.parameters()))
    found = {each.name: each.relative_diff for each in weight_difference(whole, half).results}
    for one in (whole, half):
        one.model.update(tree_map(lambda weight: weight.astype(mx.float32), one.model.parameters()))
    for each in weight_difference(whole, half).results:
        assert found[each.name] == pytest.approx(each.relative_diff, rel=1e-9)


def test_checkpoints_are_compared_as_loaded(tmp_path: Path, make_llama: Any, save_checkpoint: Any):
    """A model saved and loaded again does not differ from the one that was saved."""
    model = make_llama()
    folder = save_checkpoint(tmp_path / "saved", model)
    assert weight_difference(Subject.from_model(model, None, "base"), Subject.load(folder)).total == 0
