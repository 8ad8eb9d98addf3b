"""Training with two losses: name the operation at a middle layer, and give the answer at the last.

`loss = cls_weight * classification + (1 - cls_weight) * answer`. The classification loss is the cross-entropy of the
exact logit lens at the classifier layer against the class word, over the whole vocabulary, at the last token of the
prompt: the position where it is read afterwards. The answer loss is the next-token cross-entropy of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx import optimizers

from lazarus_probe.hooks.replay import replay
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject.generate import forward

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DEPTH = 0.55
CLASS_WORDS = ("multiply", "add", "subtract", "divide")


@dataclass(frozen=True)
class Sample:
    """One prompt with its answer and its class word."""

    prompt: str
    answer: str
    label: str


@dataclass(frozen=True)
class DualReward:
    """How to train; `classifier_layer` None is 55% of the depth."""

    steps: int = 500
    classifier_layer: int | None = None
    cls_weight: float = 0.4
    learning_rate: float = 5e-4
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Losses:
    """The losses of one step, in nats."""

    step: int
    total: float
    classification: float
    answer: float


def classifier_layer(num_layers: int) -> int:
    """The layer at 55% of the depth, as published: 22 layers -> 12, 16 -> 8, 40 -> 22."""
    return int(DEPTH * num_layers)


def class_tokens(subject: Subject, words: Sequence[str] = CLASS_WORDS) -> dict[str, int]:
    """The token of each class word, bare or with a leading space.

    Raises:
        ValueError: a word is no single token in either form.
    """
    return {word: _class_token(subject, word) for word in words}


def _class_token(subject: Subject, word: str) -> int:
    try:
        return subject.single_token(word)
    except ValueError:
        return subject.single_token(f" {word}")


def train(
    subject: Subject,
    samples: Sequence[Sample],
    config: DualReward,
    tokens: Mapping[str, int] | None = None,
    on_step: Callable[[Losses], None] = lambda _losses: None,
) -> list[Losses]:
    """Train what is trainable in the subject's model (see `lora.attached`) with AdamW.

    Args:
        subject: the model, with its trainable parameters chosen.
        samples: what to train on.
        config: how.
        tokens: the token of each label; by default that of the word itself. Permute them for a null.
        on_step: called with the losses of each step.

    Raises:
        ValueError: no samples, or a class word that is no single token.
        FloatingPointError: the loss is no longer finite.
    """
    if tokens is None:
        tokens = class_tokens(subject, sorted({sample.label for sample in samples}))
    layer = (
        classifier_layer(subject.num_layers) if config.classifier_layer is None else config.classifier_layer
    )
    optimizer = optimizers.AdamW(config.learning_rate)
    step_loss = nn.value_and_grad(subject.model, _loss(subject, layer, config.cls_weight))
    found = []
    for step, batch in enumerate(_batches(subject, samples, tokens, config), 1):
        (total, classification, answer), grads = step_loss(*batch)
        optimizer.update(subject.model, grads)
        mx.eval(subject.model.trainable_parameters(), optimizer.state, total, classification, answer)
        losses = Losses(step, total.item(), classification.item(), answer.item())
        if not np.isfinite(losses.total):
            raise FloatingPointError(f"the loss is {losses.total} at step {step}: lower the learning rate")
        found.append(losses)
        on_step(losses)
    return found


def _loss(subject: Subject, layer: int, weight: float) -> Callable[..., tuple[mx.array, mx.array, mx.array]]:
    site = Site("resid_post", layer)

    def loss(tokens: mx.array, start: int, labels: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """`tokens` (B, L) hold prompt and answer; `start` is where the answer begins; `labels` (B,)."""
        with hooked(subject, capture=site) as captures:
            logits = forward(subject.model, tokens)
        lens = replay(subject, captures[site][:, start - 1 : start])[:, 0]
        classification = nn.losses.cross_entropy(lens, labels, reduction="mean")
        answer = nn.losses.cross_entropy(logits[:, start - 1 : -1], tokens[:, start:], reduction="mean")
        return weight * classification + (1 - weight) * answer, classification, answer

    return loss


def _batches(
    subject: Subject, samples: Sequence[Sample], tokens: Mapping[str, int], config: DualReward
) -> Iterator[tuple[mx.array, int, mx.array]]:
    """Batches of samples whose prompts, and answers, have equal lengths; drawn with replacement."""
    if not samples:
        raise ValueError("no samples to train on; give at least one")
    buckets: dict[tuple[int, int], list[tuple[list[int], int]]] = {}
    end = sorted(subject.eos_token_ids)[:1]
    for sample in samples:
        prompt = subject.encode(sample.prompt)
        whole = [*subject.encode(sample.prompt + sample.answer), *end]
        buckets.setdefault((len(whole), len(prompt)), []).append((whole, tokens[sample.label]))
    keys, sizes = list(buckets), np.array([len(rows) for rows in buckets.values()])
    rng = np.random.default_rng(config.seed)
    for _ in range(config.steps):
        key = keys[rng.choice(len(keys), p=sizes / sizes.sum())]
        rows = [buckets[key][i] for i in rng.integers(len(buckets[key]), size=config.batch_size)]
        yield mx.array([row for row, _ in rows]), key[1], mx.array([label for _, label in rows])
