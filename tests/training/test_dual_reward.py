"""The two losses of the dual reward, against hand-written ones, and its null."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.subject.generate import forward
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks import prompts
from lazarus_probe.training.dual_reward import DualReward, Sample, class_tokens, classifier_layer, train
from lazarus_probe.training.emergence import compare_arms, read, run_arm, split_families
from lazarus_probe.training.lora import attached

SAMPLES = [Sample("1 + 12 =", "3", "a"), Sample("7 * 12 =", "4", "b"), Sample("2 + 12 =", "9", "a")]
TOKENS = {"a": 2, "b": 3}


@pytest.mark.parametrize(("layers", "expected"), [(22, 12), (40, 22), (8, 4), (24, 13)])
def test_layer_is_at_55_percent(layers, expected):
    """The classifier layer is the published one: TinyLlama's 22 layers give 12, Granite's 40 give 22."""
    assert classifier_layer(layers) == expected


def cross_entropy(logits: np.ndarray, token: int) -> float:
    shifted = logits.astype(np.float64) - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[token])


def test_losses_are_the_naive_ones(grouped, naive):
    """The first step's losses: the lens at the last prompt token, and the answer's tokens shifted by one."""
    sample = SAMPLES[0]
    found = train_once(grouped, [sample])
    prompt = grouped.encode(sample.prompt)
    whole = [*grouped.encode(sample.prompt + sample.answer), min(grouped.eos_token_ids)]
    run = naive(grouped.model, np.array([whole]))
    resid = run["resid_post.2"][:, len(prompt) - 1]
    norm = np.array(grouped.model.model.norm.weight, np.float64)
    lens = (
        resid
        / np.sqrt((resid**2).mean() + 1e-5)
        * norm
        @ np.array(grouped.model.lm_head.weight, np.float64).T
    )
    answer = [
        cross_entropy(run["logits"][0, i], whole[i + 1]) for i in range(len(prompt) - 1, len(whole) - 1)
    ]
    assert found.classification == pytest.approx(cross_entropy(lens[0], TOKENS["a"]), rel=1e-4)
    assert found.answer == pytest.approx(np.mean(answer), rel=1e-4)
    assert found.total == pytest.approx(0.4 * found.classification + 0.6 * found.answer, rel=1e-5)


def train_once(subject: Subject, samples: list[Sample]):
    with attached(subject, ["v_proj", "o_proj"], rank=2):
        return train(subject, samples, DualReward(steps=1, batch_size=4, classifier_layer=2), TOKENS)[0]


def test_training_lowers_both_losses(grouped):
    """Forty steps on three samples bring both losses down, and the model is as before afterwards."""
    plain = forward(grouped.model, mx.array([[0, 5, 6]]))
    with attached(grouped, ["v_proj", "o_proj"], rank=8):
        losses = train(grouped, SAMPLES, DualReward(steps=40, learning_rate=1e-2, classifier_layer=2), TOKENS)
    first, last = losses[0], losses[-1]
    assert last.classification < 0.5 * first.classification
    assert last.answer < 0.5 * first.answer
    assert mx.array_equal(forward(grouped.model, mx.array([[0, 5, 6]])), plain)


def test_same_seed_same_losses(grouped):
    """A seed decides the whole run."""
    runs = []
    for seed in (1, 1, 2):
        with attached(grouped, ["v_proj"], rank=2, seed=seed):
            runs.append(
                train(
                    grouped, SAMPLES, DualReward(steps=3, batch_size=2, seed=seed, classifier_layer=1), TOKENS
                )
            )
    assert runs[0] == runs[1] != runs[2]


def test_no_samples_are_refused(grouped):
    """Nothing to train on is an error."""
    with pytest.raises(ValueError, match="no samples"):
        train(grouped, [], DualReward(steps=1))


def test_class_words_must_be_tokens(grouped):
    """A tokenizer without the class words is refused with the word and its pieces."""
    with pytest.raises(ValueError, match=r"multiply.* is not one token but 9"):
        class_tokens(grouped)


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


def questions() -> tuple[list[prompts.Question], list[prompts.Question]]:
    asked = prompts.questions(np.random.default_rng(0), 60, phrasings=["spaced"])
    return split_families(asked, 0.3, seed=0)


def test_held_out_families_are_disjoint():
    """No operand family is both trained on and held out."""
    trained, held_out = questions()
    assert trained
    assert held_out
    assert not {q.family for q in trained} & {q.family for q in held_out}


@pytest.mark.slow
def test_shuffled_labels_teach_nothing(organism):
    """With labels drawn at random per sample, the held-out class word is at chance at best: nothing leaks."""
    trained, held_out = questions()
    tokens = class_tokens(organism)
    rng = np.random.default_rng(0)
    samples = [Sample(q.text, q.fact.response(), str(rng.choice(list(tokens)))) for q in trained]
    with attached(organism, ["v_proj", "o_proj"], rank=16):
        train(organism, samples, DualReward(steps=60, learning_rate=1e-3), tokens)
        named, _, _ = read(organism, held_out, tokens)
    # chance is 1/4; with n held-out questions, five standard errors above it
    assert named.mean() < 0.25 + 5 * (0.25 * 0.75 / len(named)) ** 0.5


@pytest.mark.slow
def test_an_arm_reads_what_it_trained(organism):
    """A short V/O run names the operation of held-out operands more often than no training does."""
    trained, held_out = questions()
    base, _, _ = read(organism, held_out, class_tokens(organism))
    arm = run_arm(
        organism,
        ["v_proj", "o_proj"],
        trained,
        held_out,
        DualReward(steps=40, learning_rate=2e-3),
        seeds=[0, 1],
    )
    assert arm.named.shape == (2, len(held_out))
    assert arm.named.mean() > base.mean() + 0.2
    found = compare_arms(arm, {"no_training": base}, {})
    assert found.groups == 2
    assert found.controls[0].gain == pytest.approx(arm.named.mean() - base.mean())
