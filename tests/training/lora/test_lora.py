"""LoRA that leaves no trace."""

from __future__ import annotations

import itertools
import re
from contextlib import nullcontext
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks import replay, trace
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.lora.lora import attach, attached, ranks_for, trainable_count
from lazarus_probe.training.lora.merging import MergeWarning
from tests.architectures.zoo import build
from tests.training.lora.adopted_lora import adopt

TOKENS = mx.array([[0, 5, 9, 3, 7]])
# A fused projection, experts, quantised experts, a state space beside attention, quantised linear layers.
KINDS = {
    "phi3": "qkv_proj",
    "mixtral": "down_proj",
    "gpt_oss_4bit": "gate_proj",
    "jamba": "in_proj",
    "llama_4bit": "v_proj",
}


def zoo(name: str) -> Subject:
    return Subject.from_model(build(name), name=name)


def parameters(subject: Subject) -> dict[str, mx.array]:
    return dict(tree_flatten(subject.model.parameters()))


def trained(subject: Subject, seed: int = 0) -> None:
    """Give every LoRA a `lora_b` as training could."""
    for path, module in subject.model.named_modules():
        if "lora_b" in module:
            key = mx.random.key(seed + sum(map(ord, path)))
            module.lora_b = 0.1 * mx.random.normal(module.lora_b.shape, key=key)


def traces(subject: Subject) -> list[Any]:
    """All that a model is: modules, their classes and modes, what is trained, weights, and the random state."""
    model = subject.model
    return [
        [(path, id(module), type(module), module.training) for path, module in model.named_modules()],
        [name for name, _ in tree_flatten(model.trainable_parameters())],
        {name: np.array(value).tobytes() for name, value in parameters(subject).items()},
        mx.random.state[0].tolist(),
        subject.fingerprint,
    ]


def weight_of(linear: Any) -> np.ndarray:
    """The weight of a projection, quantised or not."""
    if "scales" not in linear:
        return np.array(linear.weight)
    settings = {"group_size": linear.group_size, "bits": linear.bits, "mode": linear.mode}
    return np.array(mx.dequantize(linear.weight, linear.scales, linear.biases, **settings))


def test_nothing_changes_before_the_first_step(grouped):
    """Fresh LoRA leaves the logits as they are, bit for bit."""
    plain = forward(grouped.model, TOKENS)
    with attached(grouped, ["v_proj", "o_proj"], rank=4):
        assert mx.array_equal(forward(grouped.model, TOKENS), plain)


@pytest.mark.parametrize("name", ["llama", "llama_4bit", "phi3"])
def test_update_is_the_formula(name):
    """A projection with LoRA is `x W^T + scale (x A) B`, plain, quantised or fused."""
    subject, target = zoo(name), KINDS.get(name, "v_proj")
    with attached(subject, [target], rank=4, scale=3.0) as model:
        trained(subject)
        layer = model.layers[1].self_attn[target]
        weight, a, b = weight_of(layer.linear), np.array(layer.lora_a), np.array(layer.lora_b)
        x = np.random.default_rng(0).normal(size=(2, 3, weight.shape[1])).astype(np.float32)
        bias = np.array(layer.linear.bias) if "bias" in layer.linear else 0.0
        expected = x @ weight.T + bias + 3.0 * x @ a @ b
        np.testing.assert_allclose(np.array(layer(mx.array(x))), expected, atol=2e-4)
        assert np.abs(3.0 * x @ a @ b).max() > 0.1


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss_4bit"])
def test_each_expert_has_an_update_of_its_own(name):
    """What the expert chosen for a position returns is the formula with that expert's matrices."""
    subject, target = zoo(name), KINDS[name]
    with attached(subject, [target], rank=3, scale=2.0):
        trained(subject)
        layer = next(module for _, module in subject.model.named_modules() if "lora_a" in module)
        weight, a, b = weight_of(layer.linear), np.array(layer.lora_a), np.array(layer.lora_b)
        x = np.random.default_rng(0).normal(size=(1, 4, 1, 1, weight.shape[2])).astype(np.float32)
        chosen = np.array([[[0, 1], [1, 0], [0, 0], [1, 1]]])
        found = np.array(layer(mx.array(x), mx.array(chosen)))[..., 0, :]
        for position, slot in itertools.product(range(4), range(2)):
            expert, row = chosen[0, position, slot], x[0, position, 0, 0]
            bias = np.array(layer.linear.bias)[expert] if "bias" in layer.linear else 0.0
            expected = weight[expert] @ row + bias + 2.0 * b[expert] @ (a[expert] @ row)
            np.testing.assert_allclose(found[0, position, slot], expected, atol=1e-4)


def train_and_break(subject, targets, error):
    with attached(subject, targets, rank=2, dropout=0.1) as model:
        trained(subject)
        model.train(not model.training)  # the mode is a trace, too
        model.layers[0].eval()
        raise error("inside")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaves_no_trace(grouped, error):
    """After an exception inside, modules, modes, weights, fingerprint and random state are as before."""
    before = traces(grouped)
    with pytest.raises(error, match="inside"):
        train_and_break(grouped, ["q_proj", "down_proj"], error)
    assert traces(grouped) == before


@pytest.mark.parametrize("name", KINDS)
def test_leaves_no_trace_on_other_kinds_of_layer(name):
    """Fused, quantised and expert projections and those of state spaces are left as they were, too."""
    subject = zoo(name)
    before = traces(subject)
    with pytest.raises(RuntimeError, match="inside"):
        train_and_break(subject, [KINDS[name]], RuntimeError)
    assert traces(subject) == before


def test_what_was_frozen_stays_frozen(make_llama):
    """What was trained before is what is trained after, where that was not all."""
    subject = Subject.from_model(make_llama())
    subject.model.freeze()
    subject.model.layers[1].mlp.unfreeze()
    names = [name for name, _ in tree_flatten(subject.model.trainable_parameters())]
    with attached(subject, ["v_proj", "down_proj"], rank=2):
        pass
    assert [name for name, _ in tree_flatten(subject.model.trainable_parameters())] == names
    on = attach(subject, ["v_proj", "down_proj"], rank=2)
    on.merge()
    assert [name for name, _ in tree_flatten(subject.model.trainable_parameters())] == names


def test_only_lora_is_trainable(grouped):
    """Inside, exactly the LoRA matrices are trained: rank times (inputs + outputs) for each projection."""
    with attached(grouped, ["v_proj", "o_proj"], rank=4) as model:
        names = [name for name, _ in tree_flatten(model.trainable_parameters())]
        assert all(".lora_" in name for name in names)
        # v: 32 -> 16 under grouped-query attention, o: 32 -> 32; four layers
        assert trainable_count(model) == 4 * 4 * ((32 + 16) + (32 + 32))


def test_layers_and_ranks_are_those_asked_for(grouped):
    """Only the chosen layers have LoRA, negative ones counted from the last, and each target its own rank."""
    with attached(
        grouped, ["v_proj", "mlp.down_proj"], rank={"v_proj": 2, "mlp.down_proj": 5}, layers=[-1, 1]
    ) as model:
        shapes = {name: value.shape for name, value in tree_flatten(model.trainable_parameters())}
    assert shapes == {
        f"model.layers.{layer}.{name}": shape
        for layer in (1, 3)
        for name, shape in {
            "self_attn.v_proj.lora_a": (32, 2),
            "self_attn.v_proj.lora_b": (2, 16),
            "mlp.down_proj.lora_a": (48, 5),
            "mlp.down_proj.lora_b": (5, 32),
        }.items()
    }


def test_a_block_without_the_target_is_passed_over():
    """Where some blocks have attention and others a state space, LoRA goes on those that have the projection."""
    subject = zoo("jamba")
    with attached(subject, ["q_proj"], rank=2) as model:
        layers = {name.split(".")[2] for name, _ in tree_flatten(model.trainable_parameters())}
    assert 0 < len(layers) < subject.num_layers


def test_arms_have_equal_size(grouped):
    """V/O and Q/K at one rank train equally many numbers, also under grouped-query attention."""
    sizes = []
    for targets in (["v_proj", "o_proj"], ["q_proj", "k_proj"]):
        with attached(grouped, targets, rank=4) as model:
            sizes.append(trainable_count(model))
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("name", "target"), [("llama", "v_proj"), ("mixtral", "down_proj")])
def test_seed_decides(name, target):
    """The same seed gives the same matrices and another seed others, whatever the global random state."""
    subject, drawn = zoo(name), []
    for seed in (1, 1, 2):
        mx.random.normal((3,))
        with attached(subject, [target], rank=4, seed=seed) as model:
            drawn.append(np.concatenate([np.ravel(v) for _, v in tree_flatten(model.trainable_parameters())]))
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_dropout_acts_in_training_mode_only(make_llama):
    """With dropout the logits differ from run to run while training, and not while evaluating."""
    subject = Subject.from_model(make_llama())
    subject.model.eval()
    with attached(subject, ["v_proj"], rank=4, dropout=0.5) as model:
        trained(subject)
        first = forward(model, TOKENS)
        assert mx.array_equal(forward(model, TOKENS), first)
        model.train()
        assert not mx.array_equal(forward(model, TOKENS), first)


@pytest.mark.parametrize("name", ["llama", "phi3", "mixtral"])
def test_merging_adds_the_product_to_the_weight(name):
    """Merged, the weight is `W + scale (A B)^T`, the logits are those with LoRA, and no LoRA is left."""
    subject = Subject.from_model(build.__wrapped__(name), name=name)
    on = attach(subject, [KINDS.get(name, "v_proj")], rank=3, scale=2.0)
    trained(subject)
    adapted = forward(subject.model, TOKENS)
    projection, linear = on.projections[-1]
    layer = projection.module
    a, b = (np.array(matrix) for matrix in (layer.lora_a, layer.lora_b))
    product = b @ a if a.ndim == 3 else (a @ b).T
    expected = np.array(linear.weight) + 2.0 * product
    on.merge()
    np.testing.assert_allclose(np.array(projection.module.weight), expected, atol=1e-5)
    np.testing.assert_allclose(np.array(forward(subject.model, TOKENS)), np.array(adapted), atol=1e-3)
    assert not any("lora_a" in module for _, module in subject.model.named_modules())
    on.detach()
    assert projection.module is not linear
    with pytest.raises(ValueError, match="no longer on the model"):
        on.merge()


@pytest.mark.parametrize("name", ["llama_4bit", "gpt_oss_4bit"])
def test_merging_into_quantised_weights_rounds_at_most_a_step(name):
    """Merged, a quantised projection is quantised as before and off by a step; dequantised it is exact."""
    for dequantize in (False, True):
        subject = Subject.from_model(build.__wrapped__(name), name=name)
        on = attach(subject, [KINDS[name]], rank=3, scale=2.0)
        trained(subject)
        projection, linear = on.projections[-1]
        a, b = (np.array(matrix) for matrix in (projection.module.lora_a, projection.module.lora_b))
        expected = weight_of(linear) + 2.0 * (b @ a if a.ndim == 3 else (a @ b).T)
        with nullcontext() if dequantize else pytest.warns(MergeWarning, match="which rounded them again"):
            on.merge(dequantize=dequantize)
        groups = expected.reshape(-1, linear.group_size)
        # The scale is moved so that zero is exact, which makes a step somewhat larger than range / 15.
        step = 0.0 if dequantize else float(np.max(groups.max(-1) - groups.min(-1))) / 15
        assert ("scales" in projection.module) is not dequantize
        assert np.abs(weight_of(projection.module) - expected).max() <= step + 1e-5


@pytest.mark.parametrize("size", [0.001, 0.1])
def test_what_merging_into_quantised_weights_loses_is_said(size):
    """The warning's share is the root of the squares of the rounding over those of the update, reckoned in NumPy."""
    subject = Subject.from_model(build.__wrapped__("llama_4bit"), name="llama_4bit")
    on = attach(subject, ["v_proj"], rank=3, scale=2.0)
    for projection, _ in on.projections:
        projection.module.lora_b = size * mx.random.normal(
            projection.module.lora_b.shape, key=mx.random.key(projection.layer)
        )
    updates, wanted = [], []
    for projection, linear in on.projections:
        a, b = (np.array(matrix) for matrix in (projection.module.lora_a, projection.module.lora_b))
        updates.append(2.0 * (a @ b).T)
        wanted.append(weight_of(linear) + updates[-1])
    with pytest.warns(MergeWarning, match="llama_4bit: LoRA was merged into weights of 4 bits") as caught:
        on.merge()
    errors = [
        weight_of(projection.module) - one
        for (projection, _), one in zip(on.projections, wanted, strict=True)
    ]
    share = np.sqrt(sum(np.square(e).sum() for e in errors) / sum(np.square(u).sum() for u in updates))
    said = re.search(r"the rounding is (\S+) times", str(caught[0].message))
    assert said is not None
    assert float(said[1]) == pytest.approx(share, rel=0.06)
    assert bool(share > 1) is (size == 0.001)


def test_training_goes_on_from_an_adapter(make_llama):
    """`attach` where there is LoRA continues from its matrices, on its own layers; taken off, the first is back."""
    subject = Subject.from_model(make_llama())
    plain = forward(subject.model, TOKENS)
    attach(subject, ["v_proj"], rank=4)
    trained(subject)
    before, adapted = traces(subject), forward(subject.model, TOKENS)
    on = attach(subject, ["v_proj", "o_proj"], rank=4, layers=[2])
    assert mx.array_equal(forward(subject.model, TOKENS), adapted)
    assert trainable_count(subject.model) == 4 * (2 * 32 + 2 * 32)
    for projection, _ in on.projections:
        projection.module.lora_b = projection.module.lora_b + 1.0
    assert not mx.array_equal(forward(subject.model, TOKENS), adapted)
    on.detach()
    assert traces(subject) == before
    adopt(subject).detach()
    assert mx.array_equal(forward(subject.model, TOKENS), plain)


@pytest.mark.parametrize("name", ["llama", "mixtral", "llama_4bit"])
def test_new_lora_is_put_around_an_adapter(name):
    """`attached` on a model that has LoRA adds an update of its own, of any rank and scale, and freezes the rest."""
    subject = Subject.from_model(build.__wrapped__(name), name=name)
    target = KINDS.get(name, "v_proj")
    attach(subject, [target], rank=4, scale=1.0)
    trained(subject)
    before, adapted = traces(subject), forward(subject.model, TOKENS)
    with attached(subject, [target], rank=2, scale=3.0) as model:
        assert mx.array_equal(forward(model, TOKENS), adapted)
        names = [key for key, _ in tree_flatten(model.trainable_parameters())]
        assert names
        assert all(key.rpartition(".")[2].startswith("lora_") and ".linear." not in key for key in names)
        count = trainable_count(model)
        with attached(subject, [target], rank=2) as twice:
            assert trainable_count(twice) == count
    assert traces(subject) == before


def test_merging_lora_on_lora_adds_both(make_llama):
    """Merged, the weight holds the update that was there and the one around it, and the logits stay."""
    subject = Subject.from_model(make_llama())
    attach(subject, ["v_proj"], rank=4, scale=1.0)
    trained(subject)
    with attached(subject, ["v_proj"], rank=2, scale=3.0) as model:
        trained(subject, seed=1)
        expected = np.array(forward(model, TOKENS))
        adopt(subject).merge()
        assert type(model.layers[0].self_attn.v_proj) is nn.Linear
        np.testing.assert_allclose(np.array(forward(model, TOKENS)), expected, atol=1e-3)


def test_another_rank_on_an_adapter_is_refused(make_llama):
    """What would not continue from the matrices that are there is refused."""
    subject = Subject.from_model(make_llama())
    attach(subject, ["v_proj"], rank=4)
    with pytest.raises(
        ValueError, match=r"layer 0 self_attn.v_proj has LoRA of rank 4 and scale 2.0 already"
    ):
        attach(subject, ["v_proj"], rank=8)


def test_the_scale_is_part_of_the_fingerprint(grouped):
    """Two adapters that differ in their scale alone make two models."""
    found = set()
    for scale in (1.0, 2.0):
        with attached(grouped, ["v_proj"], rank=2, scale=scale):
            found.add(grouped.fingerprint)
    assert len(found) == 2


def test_hooks_see_what_lora_does(grouped):
    """Captures and the lens on a model with LoRA are those of its own forward, and with it off those of before."""
    sites = ["attn_out.1", "resid_post.3"]
    plain = trace(grouped, TOKENS, sites)
    with attached(grouped, ["o_proj"], rank=4):
        trained(grouped)
        adapted = trace(grouped, TOKENS, sites)
        assert mx.array_equal(replay(grouped, adapted["resid_post.3"]), forward(grouped.model, TOKENS))
        assert mx.array_equal(adapted.logits, forward(grouped.model, TOKENS))
    assert not mx.allclose(adapted["attn_out.1"], plain["attn_out.1"])
    assert mx.array_equal(trace(grouped, TOKENS, sites)["attn_out.1"], plain["attn_out.1"])


REFUSED = {
    "unknown": (
        "llama",
        {"targets": ["w_proj"]},
        r"no projection is named w_proj; there are \['.*_proj'",
    ),
    "none": ("llama", {"targets": []}, r"no projection is named \(none given\); there are"),
    "fused": ("phi3", {"targets": ["v_proj"]}, "v_proj is part of self_attn.qkv_proj in this model"),
    "fused gate": ("phi3", {"targets": ["up_proj"]}, "up_proj is part of mlp.gate_up_proj in this model"),
    "embedding": (
        "llama",
        {"targets": ["embed_tokens"]},
        "embed_tokens is an embedding; LoRA goes on linear",
    ),
    "head": ("llama", {"targets": ["lm_head"]}, "lm_head is no part of a block"),
    "norm": ("llama", {"targets": ["norm"]}, "norm is a RMSNorm, which LoRA cannot go on"),
    "other layers": (
        "jamba",
        {"targets": ["q_proj"], "layers": [0]},
        "none of the chosen layers has q_proj; layers",
    ),
    "read by the model": (
        "gemma3n",
        {"targets": ["prediction_coefs"]},
        "gemma3n cannot run with LoRA on prediction",
    ),
    "own adapters": ("afm7", {"targets": ["qkv_proj"]}, "qkv_proj is a FusedLinear, which LoRA cannot go on"),
    "rank": ("llama", {"targets": ["v_proj"], "rank": 0}, "rank of v_proj is 0; at least 1"),
    "ranks": (
        "llama",
        {"targets": ["v_proj"], "rank": {"o_proj": 2}},
        "ranks are given for o_proj; one for each",
    ),
    "scale": ("llama", {"targets": ["v_proj"], "scale": float("nan")}, "scale is nan; a finite number"),
    "dropout": ("llama", {"targets": ["v_proj"], "dropout": 1.0}, "dropout is 1.0; a share of at least 0"),
    "no layers": ("llama", {"targets": ["v_proj"], "layers": []}, "no layer is left to train"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused_by_name(case):
    """Each target or setting that means nothing is named with what would be right, and the model is untouched."""
    name, settings, message = REFUSED[case]
    subject = zoo(name)
    modules = [type(module) for _, module in subject.model.named_modules()]
    with pytest.raises(ValueError, match=message) as raised:
        attach(subject, **settings)
    assert "\n" not in str(raised.value)
    assert [type(module) for _, module in subject.model.named_modules()] == modules


def test_a_layer_out_of_range_is_refused(grouped):
    """A layer that the model does not have is an IndexError with those it has."""
    with pytest.raises(IndexError, match="layer 4 is out of range: the model has layers 0 to 3"):
        attach(grouped, ["v_proj"], layers=[4])


def test_the_nearest_name_comes_first(grouped):
    """Among the projections there are, the one most like what was asked for leads."""
    with pytest.raises(ValueError, match=r"there are \['down_proj', "):
        attach(grouped, ["dwn_proj"])


@pytest.mark.parametrize("budget", [2000, 4711, 9216])
@pytest.mark.parametrize(
    "targets", [["v_proj", "o_proj"], ["q_proj", "k_proj"], ["gate_proj", "up_proj", "down_proj"], ["v_proj"]]
)
def test_ranks_come_as_near_to_a_budget_as_ranks_can(grouped, targets, budget):
    """No ranks train a count nearer to the budget, and `attach` trains the count they promise."""
    cost = {"q_proj": 64, "k_proj": 48, "v_proj": 48, "o_proj": 64}
    costs = [4 * cost.get(target, 80) for target in targets]
    ranks = ranks_for(grouped, targets, budget)
    with attached(grouped, targets, rank=ranks) as model:
        count = trainable_count(model)
    assert count == sum(ranks[target] * c for target, c in zip(targets, costs, strict=True))
    tried = itertools.product(range(1, budget // min(costs) + 2), repeat=len(costs))
    best = min(abs(sum(r * c for r, c in zip(given, costs, strict=True)) - budget) for given in tried)
    assert abs(count - budget) == best


def test_ranks_are_even_where_that_is_as_near(grouped):
    """The budget of one rank everywhere gives that rank everywhere, in chosen layers too."""
    assert ranks_for(grouped, ["v_proj", "o_proj"], 16 * 4 * (48 + 64)) == {"v_proj": 16, "o_proj": 16}
    assert ranks_for(grouped, ["v_proj", "o_proj"], 8 * 2 * (48 + 64), layers=[0, 1]) == {
        "v_proj": 8,
        "o_proj": 8,
    }
    with pytest.raises(ValueError, match="a budget of 400 is below rank 1 on v_proj, o_proj, which is 448"):
        ranks_for(grouped, ["v_proj", "o_proj"], 400)


def test_a_step_moves_lora_alone(make_llama):
    """A gradient step through LoRA changes `lora_b` and no weight of the model."""
    subject = Subject.from_model(make_llama())
    before = {name: np.array(value) for name, value in parameters(subject).items()}
    with attached(subject, ["down_proj"], rank=2) as model:
        loss = nn.value_and_grad(model, lambda model: mx.square(forward(model, TOKENS)).mean())
        _, gradients = loss(model)
        moved = dict(tree_flatten(gradients))
        assert {name.rpartition(".")[2] for name in moved} == {"lora_a", "lora_b"}
        assert all(mx.abs(value).max() > 0 for name, value in moved.items() if name.endswith("lora_b"))
        model.update({"model": {"layers": [{"mlp": g["mlp"]} for g in gradients["model"]["layers"]]}})
    assert all(np.array_equal(value, before[name]) for name, value in parameters(subject).items())
