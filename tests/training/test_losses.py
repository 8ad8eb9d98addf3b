"""The losses against NumPy ones over the whole sequence, shifted, masked, and by the exact lens."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.batches import Batch, Sample, collate
from lazarus_probe.training.forward import in_mode, logits_at, swiglu_mlps
from lazarus_probe.training.losses import cross_entropy, sft_loss

SAMPLES = [
    Sample((5, 6, 7, 8, 9), 3, 4),
    Sample((9, 8, 7), 1),
    Sample((3, 4, 5, 6), 2, 7),
    Sample((3, 30, 31), 2),
]


def nats(logits: np.ndarray, token: int) -> float:
    """Cross-entropy of logits (V,) against a token."""
    shifted = logits.astype(np.float64) - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[token])


def by_hand(subject: Subject, naive, layer: int) -> tuple[float, float]:
    """Answer and class loss of `SAMPLES`, one sample at a time in NumPy float64, without padding."""
    weights = {name: np.array(value, np.float64) for name, value in tree_flatten(subject.model.parameters())}
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    answers, classes = [], []
    for sample in SAMPLES:
        run = naive(subject.model, np.array([sample.tokens]))
        first = max(1, sample.prompt_length)
        answers += [nats(run["logits"][0, t - 1], sample.tokens[t]) for t in range(first, len(sample.tokens))]
        if sample.class_token >= 0:
            resid = run[f"resid_post.{layer}"][0, sample.prompt_length - 1]
            normed = resid / np.sqrt((resid**2).mean() + subject.model.args.rms_norm_eps)
            classes.append(nats(head @ (normed * weights["model.norm.weight"]), sample.class_token))
    return float(np.mean(answers)), float(np.mean(classes))


@pytest.mark.parametrize("layer", [0, 2, 3])
def test_losses_are_the_naive_ones(subject, naive, layer):
    """Both losses of a padded batch are the means over its samples taken one by one, and so is their mixture."""
    (batch,) = collate([SAMPLES], rows=6)
    total, parts = sft_loss(subject, layer, 0.3)(*batch)
    answer, named = by_hand(subject, naive, layer)
    assert parts["answer"].item() == pytest.approx(answer, rel=1e-4)
    assert parts["classification"].item() == pytest.approx(named, rel=1e-4)
    assert total.item() == pytest.approx(0.3 * named + 0.7 * answer, rel=1e-4)


def test_answer_alone(subject, naive):
    """Without a classifier layer the loss is the answer's, and there is no other part."""
    total, parts = sft_loss(subject)(*collate([SAMPLES])[0])
    assert set(parts) == {"answer"}
    assert total.item() == parts["answer"].item() == pytest.approx(by_hand(subject, naive, 0)[0], rel=1e-4)


def test_labels_are_the_next_token(make_llama):
    """A model that says back what it reads scores badly, and one that says the next token well."""
    tokens = tuple(range(10, 18))
    losses = {}
    for name, ahead in (("copies", 0), ("foresees", 1)):
        model = make_llama(hidden_size=64, num_attention_heads=4, tie_word_embeddings=False)
        # Blocks that add nothing: the logits are the unembedding of the embedding.
        for block in model.layers:
            block.self_attn.o_proj.weight = mx.zeros_like(block.self_attn.o_proj.weight)
            block.mlp.down_proj.weight = mx.zeros_like(block.mlp.down_proj.weight)
        model.model.norm.weight = mx.ones(64)
        model.model.embed_tokens.weight = mx.eye(64)
        model.lm_head.weight = 5 * mx.array(np.roll(np.eye(64, dtype=np.float32), ahead, axis=0))
        loss = sft_loss(Subject.from_model(model))
        losses[name] = loss(*collate([[Sample(tokens, 2)]])[0])[0].item()
    assert losses["foresees"] < 0.01
    assert losses["copies"] > 10


def test_what_is_not_learned_counts_nothing(grouped):
    """Other tokens in the padding, or another class token where there is none, change no bit of the loss."""
    (batch,) = collate([SAMPLES])
    loss = sft_loss(grouped, 1, 0.4)
    tokens = np.array(batch.tokens)
    tokens[1, 3:] = 17
    other = batch._replace(tokens=mx.array(tokens))
    assert mx.array_equal(loss(*batch)[0], loss(*other)[0])


def test_no_class_at_all_is_no_loss(grouped):
    """A batch without class tokens has a classification loss of 0, and no gradient from it."""
    (batch,) = collate([[Sample((1, 2, 3), 2)]])
    total, parts = sft_loss(grouped, 1, 0.4)(*batch)
    assert parts["classification"].item() == 0.0
    assert total.item() == pytest.approx(0.6 * parts["answer"].item())


def test_class_loss_reaches_the_layers_below_only(grouped):
    """The classification alone moves every block up to the classifier layer, and none above it."""
    (batch,) = collate([SAMPLES])
    _, grads = nn.value_and_grad(grouped.model, sft_loss(grouped, 1, 1.0))(*batch)
    for name, grad in tree_flatten(grads["model"]["layers"]):
        assert (np.abs(np.array(grad)).max() > 0) == (int(name.split(".")[0]) <= 1), name


def test_gradient_is_that_of_the_plain_loss(subject):
    """Every weight's gradient is that of a loss written without gathering, hooks or fast exponentials."""
    (batch,) = collate([SAMPLES])

    def plain(tokens: mx.array, learned: mx.array) -> mx.array:
        losses = nn.losses.cross_entropy(subject.model(tokens[:, :-1]), tokens[:, 1:])
        return (losses * learned).sum() / learned.sum()

    _, expected = nn.value_and_grad(subject.model, plain)(batch.tokens, batch.learned)
    _, found = nn.value_and_grad(subject.model, sft_loss(subject))(*batch)
    found = dict(tree_flatten(found))
    for name, grad in tree_flatten(expected):
        scale = float(mx.abs(grad).max().item())
        np.testing.assert_allclose(found[name], grad, atol=1e-4 * scale, err_msg=name)


def test_cross_entropy_is_that_of_numpy():
    """Cross-entropy of wide logits is that of float64."""
    logits = 20 * np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
    targets = np.array([0, 299, 7, 7, 100])
    found = cross_entropy(mx.array(logits), mx.array(targets))
    expected = [nats(row, token) for row, token in zip(logits, targets, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "weight", "error", "message"),
    [
        (None, 0.4, ValueError, "without a classifier_layer"),
        (1, 1.5, ValueError, "cls_weight is 1.5"),
        (4, 0.4, IndexError, "layers 0 to 3"),
        (-1, 0.4, IndexError, "layers 0 to 3"),
    ],
)
def test_what_cannot_be_is_refused(grouped, layer, weight, error, message):
    """A weight that is no share, or a layer that the model has not, is named."""
    with pytest.raises(error, match=message):
        sft_loss(grouped, layer, weight)


def tiny(name: str) -> Subject:
    """A random model of another architecture: sliding windows and soft caps, experts, or embeddings in the tail."""
    from mlx_lm.models import gemma2, gpt2, qwen3_moe

    mx.random.seed(0)
    common = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "vocab_size": 40}
    if name == "gemma2":
        args = gemma2.ModelArgs(
            model_type=name,
            intermediate_size=24,
            head_dim=8,
            rms_norm_eps=1e-5,
            num_key_value_heads=1,
            **common,
        )
        return Subject.from_model(gemma2.Model(args))
    if name == "gpt2":
        args = gpt2.ModelArgs(name, n_ctx=32, n_embd=16, n_head=2, n_layer=2, n_positions=32,
                              layer_norm_epsilon=1e-5, vocab_size=40)  # fmt: skip
        return Subject.from_model(gpt2.Model(args))
    args = qwen3_moe.ModelArgs(
        model_type=name, intermediate_size=24, num_experts=4, num_experts_per_tok=2, decoder_sparse_step=1,
        mlp_only_layers=[], moe_intermediate_size=8, rms_norm_eps=1e-5, num_key_value_heads=1, head_dim=8,
        rope_theta=1e4, tie_word_embeddings=True, max_position_embeddings=64, norm_topk_prob=True, **common,
    )  # fmt: skip
    return Subject.from_model(qwen3_moe.Model(args))


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "qwen3_moe"])
def test_other_architectures(name):
    """The answer loss of a model with soft caps, of one with learned positions and of experts is the plain one."""
    subject = tiny(name)
    (batch,) = collate([SAMPLES])
    losses = nn.losses.cross_entropy(subject.model(batch.tokens[:, :-1]), batch.tokens[:, 1:])
    plain = (losses * batch.learned).sum() / batch.learned.sum()
    assert sft_loss(subject, 0, 0.4)(*batch)[1]["answer"].item() == pytest.approx(plain.item(), rel=1e-5)


def test_logits_of_the_last_layer_are_the_models(subject):
    """Logits asked for after the last layer are those of a plain forward at the same positions."""
    tokens = mx.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    places = mx.array([[0, 3], [2, 2]])
    (found,) = logits_at(subject)(tokens, [(subject.num_layers - 1, places)])
    plain = np.array(subject.model(tokens))
    np.testing.assert_allclose(found, plain[[[0], [1]], np.array(places)], rtol=1e-4, atol=1e-4)


def test_mlps_are_known_by_what_they_compute(grouped):
    """A Llama's MLPs are taken for what they are; gemma's, with the same parts and another function, are not."""
    assert len(swiglu_mlps(grouped)) == 4
    assert swiglu_mlps(tiny("gemma2")) == []


def test_mode_is_put_back():
    """Each module is in its own mode afterwards."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    model.layers[0].eval()
    with in_mode(model, training=False):
        assert not any(module.training for module in model.modules())
    assert (model.training, model.layers[0].training, model.layers[1].training) == (True, False, True)


def test_a_batch_is_its_arrays(grouped):
    """A loss takes the arrays of a batch in their order, as the loop gives them."""
    (batch,) = collate([SAMPLES])
    assert Batch(*batch) == batch
