"""The two losses of the dual reward, against hand-written ones, and its nulls."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.class_words import (
    compare,
    held_out_questions,
    read,
    training_questions,
)
from lazarus_probe.training.dual_reward import (
    CLASS_WORDS,
    class_spellings,
    class_tokens,
    lora_layers,
    train,
)
from lazarus_probe.training.dual_reward_config import LORA_SCALE, DualReward, classifier_layer
from lazarus_probe.training.loop import Diverged, Step
from lazarus_probe.training.lora.lora import attached
from lazarus_probe.training.sft.data import Example
from lazarus_probe.training.state import has_state, state_step

EXAMPLES = [Example("1 + 12 =", "3", "a"), Example("7 * 12 =", "4", "b"), Example("2 + 12 =", "9", "a")]
TOKENS = {"a": 2, "b": 3}


@pytest.mark.parametrize(("layers", "expected"), [(22, 12), (40, 22), (8, 4), (24, 13)])
def test_layer_is_at_55_percent(layers: int, expected: int):
    """The classifier layer is the published one: TinyLlama's 22 layers give 12, Granite's 40 give 22."""
    assert classifier_layer(layers) == DualReward().layer(layers) == expected


def test_layers_count_from_the_last_too():
    """A negative layer is counted from the last; the last itself, and what is beyond, are refused."""
    assert DualReward(classifier_layer=-2).layer(8) == 6
    for layer in (7, -1):
        with pytest.raises(ValueError, match=f"classifier layer {layer} is the last"):
            DualReward(classifier_layer=layer).layer(8)
    for layer in (8, -9):
        with pytest.raises(IndexError, match="has layers 0 to 7"):
            DualReward(classifier_layer=layer).layer(8)


def cross_entropy(logits: np.ndarray, token: int) -> float:
    shifted = logits.astype(np.float64) - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[token])


def test_losses_are_the_naive_ones(grouped, naive):
    """The first step's losses: the lens at the last prompt token, and the answer's tokens shifted by one."""
    example = EXAMPLES[0]
    with attached(grouped, ["v_proj", "o_proj"], rank=2):
        found = train(grouped, [example], DualReward(steps=1, classifier_layer=2), TOKENS)[0]
    prompt = grouped.encode(example.prompt)
    whole = [*grouped.encode(example.prompt + example.response), min(grouped.eos_token_ids)]
    run = naive(grouped.model, np.array([whole]))
    resid = run["resid_post.2"][:, len(prompt) - 1]
    norm = np.array(grouped.model.model.norm.weight, np.float64)
    scaled = resid / np.sqrt((resid**2).mean() + 1e-5) * norm
    lens = scaled @ np.array(grouped.model.lm_head.weight, np.float64).T
    answer = np.mean(
        [cross_entropy(run["logits"][0, i], whole[i + 1]) for i in range(len(prompt) - 1, len(whole) - 1)]
    )
    classification = cross_entropy(lens[0], TOKENS["a"])
    assert found.parts["classification"] == pytest.approx(classification, rel=1e-4)
    assert found.parts["answer"] == pytest.approx(answer, rel=1e-4)
    assert found.loss == pytest.approx(0.4 * classification + 0.6 * answer, rel=1e-4)


def trained(subject: Subject, steps: int, **changes: float) -> list[Step]:
    settings = {"steps": steps, "learning_rate": 1e-2, "classifier_layer": 2, "batch_size": 3, **changes}
    with attached(subject, ["v_proj", "o_proj"], rank=8):
        return train(subject, EXAMPLES, DualReward(**settings), TOKENS)


def test_training_lowers_both_losses(grouped):
    """Forty steps on three examples bring both losses down, and the model is as before afterwards."""
    plain = forward(grouped.model, mx.array([[0, 5, 6]]))
    first, *_, last = trained(grouped, 40)
    assert last.parts["classification"] < 0.5 * first.parts["classification"]
    assert last.parts["answer"] < 0.5 * first.parts["answer"]
    assert mx.array_equal(forward(grouped.model, mx.array([[0, 5, 6]])), plain)


def test_weight_of_nothing_trains_nothing(grouped):
    """With no weight on the class, it is not learned; with all of it, the answer is not."""
    answers, classes = (trained(grouped, 40, cls_weight=weight)[-1].parts for weight in (0.0, 1.0))
    assert answers["answer"] < 0.2 * classes["answer"]
    assert classes["classification"] < 0.2 * answers["classification"]


def test_same_seed_same_losses(grouped):
    """A seed decides the whole run."""
    runs = [trained(grouped, 3, batch_size=2, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_training_goes_on_bit_for_bit(grouped, tmp_path: Path):
    """Stopped by whoever watches it, a training resumes from its folder as if it had not been."""
    config = DualReward(steps=7, learning_rate=1e-2, classifier_layer=2, batch_size=2)

    def stop(step: Step) -> None:
        if step.step == 4:
            raise KeyboardInterrupt

    def weights(folder: Path | None) -> list[mx.array]:
        with attached(grouped, ["v_proj"], rank=2):
            train(grouped, EXAMPLES, config, TOKENS, folder=folder)
            return [value for _, value in tree_flatten(grouped.model.trainable_parameters())]

    with attached(grouped, ["v_proj"], rank=2), pytest.raises(KeyboardInterrupt):
        train(grouped, EXAMPLES, config, TOKENS, stop, tmp_path)
    assert state_step(tmp_path) == 4
    pairs = zip(weights(tmp_path), weights(None), strict=True)
    assert all(mx.array_equal(ours, unbroken) for ours, unbroken in pairs)
    with attached(grouped, ["v_proj"], rank=2, scale=3.0), pytest.raises(ValueError, match="other settings"):
        train(grouped, EXAMPLES, config, TOKENS, folder=tmp_path)


def test_divergence_leaves_the_last_good_weights(grouped):
    """A loss that is no number stops the training before it reaches the weights."""
    with attached(grouped, ["v_proj"], rank=2) as model:
        with pytest.raises(Diverged, match="lower the learning rate"):
            train(grouped, EXAMPLES, DualReward(50, 2, learning_rate=1e38), TOKENS)
        values = [value for _, value in tree_flatten(model.trainable_parameters())]
        assert all(mx.isfinite(value).all() for value in values)


@pytest.mark.parametrize(
    ("examples", "changes", "named"),
    [
        ([], {}, "no samples"),
        ([Example("what is it?", "4")], {}, 'no "label"'),
        (EXAMPLES, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (EXAMPLES, {"cls_weight": 2.0}, "cls_weight is 2.0"),
        (EXAMPLES, {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_cannot_be_trained_is_refused(grouped, tmp_path: Path, examples, changes, named: str):
    """Nothing to train on, and settings out of range, are errors that leave no state."""
    with attached(grouped, ["v_proj"], rank=2), pytest.raises(ValueError, match=named):
        train(
            grouped,
            examples,
            DualReward(**{"steps": 1, "classifier_layer": 1, **changes}),
            TOKENS,
            folder=tmp_path,
        )
    assert not has_state(tmp_path)


def test_class_words_must_be_tokens(grouped, organism):
    """A word that is no token of the model, and one token for two classes, are refused."""
    with pytest.raises(ValueError, match=r"multiply.* is not one token but 8"):
        class_tokens(grouped)
    with pytest.raises(ValueError, match=r"product and multiply|multiply and product"):
        class_tokens(organism, {"multiply": "times", "product": "times"})
    named = class_tokens(organism, {"multiply": "times"})
    assert organism.decode([named["multiply"]]).strip() == "times"


def test_class_words_have_one_spelling(organism):
    """All class words have their space or none has; where neither is a token for all, `form` says so."""
    bare = class_spellings(organism)
    assert bare.form == "as written"
    assert [organism.decode([token]) for token in bare.tokens.values()] == list(CLASS_WORDS)
    spaced = class_spellings(organism, ["multiply", "times"])  # `times` has no token of its own
    assert spaced.form == "with a space before it"
    assert dict(spaced.spellings) == {"multiply": " multiply", "times": " times"}
    assert [organism.decode([token]) for token in spaced.tokens.values()] == [" multiply", " times"]
    mixed = class_spellings(organism, {"code": "function", "prose": "review"})
    assert mixed.form is None
    assert [organism.decode([mixed.tokens[label]]) for label in ("code", "prose")] == ["function", " review"]
    given = class_spellings(organism, [" multiply", "add"])
    assert [organism.decode([token]) for token in given.tokens.values()] == [" multiply", "add"]


def run(
    organism: Subject,
    config: DualReward,
    targets: tuple[str, ...] = ("v_proj", "o_proj"),
    shuffled: bool = False,
):
    """Train at the command's rank and scale; the held-out questions before and after, and their comparison."""
    tokens, layer = class_tokens(organism), config.layer(organism.num_layers)
    asked, kept = training_questions(800, config.seed), held_out_questions(100)
    labels = [question.fact.operation for question in asked]
    if shuffled:
        labels = np.random.default_rng(config.seed).permutation(labels).tolist()
    examples = [Example(q.text, q.fact.response(), label) for q, label in zip(asked, labels, strict=True)]
    before = read(organism, kept, tokens, layer)
    layers = lora_layers(layer, organism.num_layers)
    with attached(organism, targets, 16, LORA_SCALE, config.seed, layers):
        train(organism, examples, config, tokens)
        after = read(organism, kept, tokens, layer)
    return before, after, compare(kept, before, after)[-1]


@pytest.mark.slow
def test_shuffled_class_words_teach_nothing(organism):
    """With each example's class word drawn at random, the held-out word is at chance at best: nothing leaks."""
    _, after, _ = run(organism, DualReward(steps=100), shuffled=True)
    # chance is 1/4; with n held-out questions, five standard errors above it
    assert after.named.mean() < 0.25 + 5 * (0.25 * 0.75 / len(after.named)) ** 0.5
    assert after.probability.mean() > 0.1  # it did learn to name one of the four


@pytest.mark.slow
def test_answers_alone_name_nothing(organism):
    """Without the class loss, the same training leaves the lens without class words."""
    _, after, _ = run(organism, DualReward(steps=100, cls_weight=0.0))
    assert after.named.mean() == 0
    assert after.probability.mean() < 0.01


@pytest.mark.slow
def test_class_word_is_named_and_answers_stay(organism):
    """At the defaults V and O name the operation of 0.95 of held-out operands, and lose 2 points of answers at most."""
    before, _, row = run(organism, DualReward())
    assert before.named.mean() == 0
    assert row.named_after.share >= 0.95
    assert row.answers_change.share >= -0.02
