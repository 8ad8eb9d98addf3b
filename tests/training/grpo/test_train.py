"""Training on rewards: groups, their advantages, the clipped loss, and a loop that resumes where it stopped."""

from __future__ import annotations

from itertools import islice
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.grpo.episodes import drawn, encoded, play
from lazarus_probe.training.grpo.policy import advantages, grpo_loss, token_losses
from lazarus_probe.training.grpo.rollouts import log_probs, sample, shares_prefix
from lazarus_probe.training.grpo.settings import Grpo
from lazarus_probe.training.grpo.train import train_grpo
from lazarus_probe.training.loop import Diverged
from lazarus_probe.training.lora.lora import attached
from tests.architectures.zoo import build
from tests.tolerance import assert_close, of_logits

PROMPTS = ["3 * 4 = ", "5 + 6 = ", "7 * 8 = ", "a + b", "1 + 1 = "]
SMALL = Grpo(steps=4, batch_size=2, group_size=4, max_tokens=3, learning_rate=1e-2, seed=3)
# Keys and values in every layer, in a window, in some layers only; a state space beside attention.
SHARED = ["llama", "gemma3", "gpt_oss"]
WHOLE = ["mamba", "jamba"]


@pytest.fixture
def fresh(make_llama: Any, tokenizer: Any) -> Subject:
    """A Llama that a test may train."""
    return Subject.from_model(make_llama(num_key_value_heads=2), tokenizer, name="fresh")


def weights(subject: Subject) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in tree_flatten(subject.model.parameters())}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> list[str]:
    return [name for name, value in first.items() if (value == second[name]).all()]


def first_is_digit(_prompt: str, response: str) -> float:
    return float(response[:1].isdigit())


def odd(_prompt: str, response: str) -> float:
    """About half of what a model without training answers has this reward."""
    return float(sum(map(ord, response)) % 2)


def rows(prompts: mx.array, tokens: mx.array) -> np.ndarray:
    """Every prompt with each of its answers."""
    return np.concatenate([np.repeat(np.array(prompts), len(tokens) // len(prompts), axis=0), tokens], axis=1)


def naive_log_probs(model: Any, prompts: mx.array, tokens: mx.array, temperature: float) -> np.ndarray:
    """One row at a time, one token at a time, in float64."""
    found = np.zeros(tokens.shape)
    for row, ids in enumerate(rows(prompts, tokens)):
        logits = np.array(forward(model, mx.array(ids[None]))[0], np.float64) / temperature
        for place in range(tokens.shape[1]):
            at = logits[prompts.shape[1] - 1 + place]
            found[row, place] = (
                at[ids[prompts.shape[1] + place]] - np.log(np.exp(at - at.max()).sum()) - at.max()
            )
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_log_probs(subject: Subject, temperature: float):
    """What sampling says of a token's probability is what the trained forward and the plain forward say."""
    prompts = mx.array([subject.encode(text) for text in PROMPTS[:3]])
    rollout = sample(subject, prompts, 4, 5, temperature, mx.random.key(0))
    expected = naive_log_probs(subject.model, prompts, rollout.tokens, temperature)
    known = np.array(rollout.sampled)
    assert_close(subject, rollout.log_probs, expected * known)
    for shared in (True, False):
        found = log_probs(subject, prompts, rollout.tokens, temperature, shared)
        assert_close(subject, np.array(found) * known, expected * known)


@pytest.mark.parametrize("name", [*SHARED, *WHOLE])
def test_architectures(name: str):
    """A prompt is run once for its group where only keys and values are kept of it, and whole elsewhere."""
    subject = Subject.from_model(build(name), name=name)
    assert shares_prefix(subject.model) == (name in SHARED)
    prompts = mx.array([[1, 5, 9, 3, 7, 2, 8], [1, 2, 3, 4, 5, 6, 7]])
    rollout = sample(subject, prompts, 3, 4, 1.0, mx.random.key(1))
    expected = naive_log_probs(subject.model, prompts, rollout.tokens, 1.0)
    np.testing.assert_allclose(rollout.log_probs, expected * np.array(rollout.sampled), atol=1e-3)
    found = log_probs(subject, prompts, rollout.tokens, 1.0, name in SHARED)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_an_answer_ends_with_its_end(fresh: Subject):
    """Nothing is sampled after an end token, which itself is; every answer has a token."""
    end = next(iter(fresh.eos_token_ids))
    rollout = sample(fresh, mx.array([fresh.encode("12")]), 64, 6, 3.0, mx.random.key(0))
    tokens, sampled = np.array(rollout.tokens), np.array(rollout.sampled)
    ended = 0
    for row, mask in zip(tokens, sampled, strict=True):
        length = int(mask.sum())
        assert (mask == (np.arange(len(mask)) < length)).all()
        assert end not in row[: length - 1]
        assert length == len(row) or row[length - 1] == end
        ended += row[length - 1] == end
    assert ended


def test_sampling_follows_the_distribution(fresh: Subject):
    """First tokens come as often as the tempered softmax says."""
    prompts = mx.array([fresh.encode("12")])
    rollout = sample(fresh, prompts, 4000, 1, 2.0, mx.random.key(0))
    expected = np.array(mx.softmax(forward(fresh.model, prompts)[0, -1] / 2.0))
    counts = np.bincount(np.array(rollout.tokens)[:, 0], minlength=len(expected))
    statistic = ((counts - 4000 * expected) ** 2 / (4000 * expected)).sum()
    assert statistic < len(expected) + 5 * np.sqrt(2 * len(expected))


def test_advantages():
    """Rewards less their group's mean, divided by its standard deviation if asked; equal rewards have none."""
    rewards = np.random.default_rng(0).normal(size=(5, 4))
    rewards[2] = 1.0
    centred = np.array([row - np.mean(row) for row in rewards])
    np.testing.assert_allclose(advantages(rewards, False), centred, atol=1e-6)
    expected = np.array([row / np.std(row) if np.std(row) > 1e-6 else 0 * row for row in centred])
    np.testing.assert_allclose(advantages(rewards, True), expected, atol=1e-6)
    assert not advantages(rewards, True)[2].any()


def test_token_losses_against_a_loop():
    """The clipped loss and k3 are those written out a token at a time."""
    rng = np.random.default_rng(1)
    new, old, reference = rng.normal(-2, 0.5, size=(3, 6, 4))
    advantage = rng.normal(size=(6, 1))
    found = [np.array(each) for each in token_losses(*map(mx.array, (new, old, reference, advantage)), 0.2)]
    for i in range(6):
        for j in range(4):
            ratio, gain = np.exp(new[i, j] - old[i, j]), advantage[i, 0]
            loss = -min(ratio * gain, np.clip(ratio, 0.8, 1.2) * gain)
            apart = reference[i, j] - new[i, j]
            assert found[0][i, j] == pytest.approx(loss, abs=1e-5)
            assert found[1][i, j] == pytest.approx(np.exp(apart) - apart - 1, abs=1e-5)
            assert found[2][i, j] == (ratio > 1.2 if gain > 0 else ratio < 0.8)


def test_k3_is_the_divergence():
    """k3 averaged over the policy's own samples is the divergence from the reference, exactly computed."""
    rng = np.random.default_rng(2)
    policy, reference = (mx.softmax(mx.array(rng.normal(size=12))) for _ in range(2))
    each = token_losses(mx.log(policy), mx.log(policy), mx.log(reference), mx.zeros(12), 0.2)[1]
    exact = (policy * (mx.log(policy) - mx.log(reference))).sum()
    assert (policy * each).sum().item() == pytest.approx(exact.item(), abs=1e-6)


def test_the_clip_blocks_the_gradient():
    """Beyond the clip, and only where the ratio has moved the way the advantage points, there is no gradient."""
    moved = mx.array([[0.5, -0.5, 0.1, -0.1]])
    for gain, blocked in ((1.0, [True, False, False, False]), (-1.0, [False, True, False, False])):

        def loss(new: mx.array, gain: float = gain) -> mx.array:
            return token_losses(new, mx.zeros((1, 4)), mx.zeros((1, 4)), mx.array([[gain]]), 0.2)[0].sum()

        gradient = np.array(mx.grad(loss)(moved))[0]
        assert (gradient == 0).tolist() == blocked
        held = token_losses(moved, mx.zeros((1, 4)), mx.zeros((1, 4)), mx.array([[gain]]), 0.2)[2]
        assert np.array(held)[0].tolist() == blocked


def played(subject: Subject, config: Grpo, prompts: list[str] = PROMPTS[:3]) -> Any:
    questions = encoded(subject, prompts, config)
    reference = subject.model.trainable_parameters()
    return play(subject, questions, first_is_digit, config, reference, 0)


def test_gradient_is_that_of_whole_rows(fresh: Subject, monkeypatch: pytest.MonkeyPatch):
    """Through shared keys and values the gradient is that of every prompt and answer run as a row of its own."""
    config = Grpo(group_size=8, batch_size=3, max_tokens=4)
    batch = played(fresh, config).batches[0]
    prompts, tokens, sampled, old, _, advantage, *_ = batch
    assert np.array(advantage).any()

    def naive() -> mx.array:
        whole = mx.array(rows(prompts, tokens))
        logits = forward(fresh.model, whole)[:, prompts.shape[1] - 1 : -1]
        new = mx.take_along_axis(nn.log_softmax(logits, axis=-1), tokens[..., None], axis=-1)[..., 0]
        ratio = mx.exp(new - old)
        return -(ratio * advantage[:, None] * sampled).sum() / 24

    loss = grpo_loss(fresh, Grpo(group_size=8, batch_size=3, max_tokens=4, kl=0.0))
    value, found = nn.value_and_grad(fresh.model, lambda: loss(*batch)[0])()
    expected_value, expected = nn.value_and_grad(fresh.model, naive)()
    assert value.item() == pytest.approx(expected_value.item(), abs=1e-6)
    for (name, ours), (_, theirs) in zip(tree_flatten(found), tree_flatten(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)


def test_first_update_is_on_policy(fresh: Subject):
    """At the first update the ratio is 1, nothing is clipped, and there is no divergence from the reference."""
    batch = played(fresh, SMALL).batches[0]
    new = log_probs(fresh, batch[0], batch[1], SMALL.temperature, True)
    ratio = np.exp(np.array((new - batch[3]) * batch[2]))
    np.testing.assert_allclose(ratio, 1, rtol=0, atol=of_logits(fresh, batch[3]))
    _, parts = grpo_loss(fresh, SMALL)(*batch)
    assert parts["kl"].item() == pytest.approx(0, abs=1e-9)
    assert parts["clipped"].item() == 0


def test_reference_is_the_model_before(fresh: Subject):
    """The divergence grows from the weights before training, and sampling is from those that are trained."""
    before = weights(fresh)
    found = train_grpo(fresh, PROMPTS, first_is_digit, SMALL)
    assert [step.step for step in found] == [1, 2, 3, 4]
    assert found[-1].kl > found[0].kl >= 0
    assert not any((value == before[name]).all() for name, value in weights(fresh).items())


def test_micro_batches_add_up(fresh: Subject):
    """A step of prompts of several lengths has the loss of each answer, averaged over all of them."""
    config = Grpo(group_size=4, batch_size=5, max_tokens=3)
    found = played(fresh, config, PROMPTS)
    assert len(found.batches) == 2
    assert found.rewards.shape == (5, 4)
    loss, _ = zip(*(grpo_loss(fresh, config)(*batch) for batch in found.batches), strict=True)
    naive = [
        -(np.array(batch[5])[:, None] * np.array(batch[2])).sum() for batch in found.batches
    ]  # ratios of 1, no divergence
    assert sum(each.item() for each in loss) == pytest.approx(sum(naive) / 20, abs=1e-5)


def test_every_prompt_once_an_epoch(fresh: Subject):
    """A step asks prompts of one length as far as they go round, and each is asked once before any is again."""
    config = Grpo(batch_size=4, max_tokens=3)
    prompts = [f"{a} + {b} = " for a in range(10) for b in (1, 2)] + ["ab", "cd", "abc"]
    questions = encoded(fresh, prompts, config)
    steps = list(islice(drawn(questions, config), 12))
    for epoch in (steps[:6], steps[6:]):
        assert sorted(question.text for step in epoch for question in step) == sorted(prompts)
    assert sum(len({len(question.tokens) for question in step}) == 1 for step in steps[:6]) == 5
    assert steps[:6] != steps[6:]
    assert list(islice(drawn(questions, config, 8), 4)) == steps[8:]


def test_frozen_is_untouched(fresh: Subject):
    """With LoRA on two layers every other weight keeps its bits, and taking it off gives the model back."""
    before = weights(fresh)
    with attached(fresh, ["v_proj", "o_proj"], 4, layers=[1, 2]):
        start = weights(fresh)
        train_grpo(fresh, PROMPTS, first_is_digit, SMALL)
        after = weights(fresh)
    moved = set(after) - set(same(start, after))
    assert moved
    assert all("lora_" in name for name in moved)
    assert same(before, weights(fresh)) == list(before)


def test_resumed_is_unbroken(make_llama: Any, tokenizer: Any, tmp_path: Any):
    """Interrupted after its second step and gone on with, a training ends with the weights of one that was not."""

    def subject() -> Subject:
        return Subject.from_model(make_llama(), tokenizer, name="twin")

    def interrupt(step: Any) -> None:
        if step.step == 2:
            raise KeyboardInterrupt

    whole, broken, again = subject(), subject(), subject()
    expected = train_grpo(whole, PROMPTS, first_is_digit, SMALL)
    with pytest.raises(KeyboardInterrupt):
        train_grpo(broken, PROMPTS, first_is_digit, SMALL, interrupt, tmp_path)
    found = train_grpo(again, PROMPTS, first_is_digit, SMALL, folder=tmp_path)
    assert found == expected[2:]
    assert same(weights(whole), weights(again)) == list(weights(whole))
    with pytest.raises(ValueError, match="other settings"):
        train_grpo(subject(), PROMPTS[:3], first_is_digit, SMALL, folder=tmp_path)


def test_rewards_are_learned(fresh: Subject):
    """What is rewarded becomes the rule; where rewards are drawn, answers do not become what they would then be."""
    config = Grpo(steps=12, batch_size=3, group_size=16, max_tokens=1, learning_rate=1e-2, kl=0.0)
    before = weights(fresh)
    steps = train_grpo(fresh, PROMPTS[:3], odd, config)
    assert steps[-1].reward > steps[0].reward + 0.3
    fresh.model.load_weights([(name, mx.array(value)) for name, value in before.items()])
    rng = np.random.default_rng(0)
    seen = []

    def drawn(prompt: str, response: str) -> float:
        seen.append(odd(prompt, response))
        return float(rng.random() < 0.5)

    train_grpo(fresh, PROMPTS[:3], drawn, config)
    assert np.mean(seen[-96:]) < np.mean(seen[:96]) + 0.3


def test_the_divergence_is_held_down(make_llama: Any, tokenizer: Any):
    """A larger weight of the divergence leaves the model nearer to what it was."""
    found = []
    for kl in (0.0, 2.0):
        subject = Subject.from_model(make_llama(), tokenizer)
        config = Grpo(steps=8, batch_size=3, group_size=8, max_tokens=1, learning_rate=3e-3, kl=kl)
        found.append(train_grpo(subject, PROMPTS[:3], odd, config)[-1].kl)
    assert found[1] < found[0] / 2


def test_nothing_to_learn_changes_nothing(fresh: Subject):
    """Where all rewards are equal no weight changes, although AdamW makes steps of the least gradient."""
    before = weights(fresh)
    train_grpo(fresh, PROMPTS[:3], lambda _prompt, _response: 1.0, SMALL)
    assert same(before, weights(fresh)) == list(before)


def test_divergence_keeps_the_last_good_weights(fresh: Subject):
    """A learning rate out of this world stops the training by name, and no weight is NaN."""
    with pytest.raises(Diverged, match="step"):
        train_grpo(
            fresh, PROMPTS, first_is_digit, Grpo(steps=4, batch_size=5, max_tokens=2, learning_rate=1e30)
        )
    assert all(np.isfinite(value).all() for value in weights(fresh).values())


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ([], {}, "no prompts"),
        (["a" * 70], {"max_tokens": 1}, "'aaa.* has 71 tokens"),
    ],
)
def test_bad_prompts(make_llama: Any, tokenizer: Any, prompts: list[str], settings: Any, message: str):
    """No prompts, and one that does not fit into the model's context, are refused by name."""
    model = make_llama(max_position_embeddings=64)
    with pytest.raises(ValueError, match=message):
        train_grpo(Subject.from_model(model, tokenizer), prompts, first_is_digit, Grpo(**settings))


def test_nothing_trainable(make_llama: Any, tokenizer: Any):
    """A model of which every parameter is frozen is refused."""
    model = make_llama()
    model.freeze()
    with pytest.raises(ValueError, match="nothing is trainable"):
        train_grpo(Subject.from_model(model, tokenizer), PROMPTS, first_is_digit, SMALL)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("steps", 0), ("group_size", 1), ("temperature", 0.0), ("clip", 0.0), ("kl", -1.0), ("updates", 0)],
)
def test_bad_settings(setting: str, value: float):
    """A setting that cannot be is named with its value."""
    with pytest.raises(ValueError, match=f"{setting} is {value}"):
        Grpo(**{setting: value})
