"""Training with two losses: name the operation at a middle layer, and give the answer at the last.

`loss = cls_weight * classification + (1 - cls_weight) * answer`. The classification loss is the cross-entropy of the
exact logit lens at the classifier layer against the class word, over the whole vocabulary, at the last token of the
prompt: the position where it is read afterwards. The answer loss is the next-token cross-entropy of the answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from lazarus_probe.adapters.adapter import weights_key
from lazarus_probe.anatomy.projections import adapted
from lazarus_probe.training.batches import Sample, batches
from lazarus_probe.training.dual_reward_config import DualReward
from lazarus_probe.training.loop import Step, optimizer_for, steps
from lazarus_probe.training.losses import sft_loss
from lazarus_probe.training.sft.data import Example, encode_all, label_of
from lazarus_probe.training.state import load_state, save_state

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

__all__ = [
    "CLASS_WORDS",
    "class_tokens",
    "lora_layers",
    "train",
]

CLASS_WORDS = ("multiply", "add", "subtract", "divide")
KEEP_EVERY = 100


def lora_layers(layer: int, num_layers: int) -> range:
    """The layers that need LoRA for a class word at `layer`: from the one below it up.

    Lower ones carry what questions are about, those that are not trained on included: where they are trained too, more
    answers to those are lost.
    """
    return range(max(0, layer - 1), num_layers)


def class_tokens(subject: Subject, words: Sequence[str] | Mapping[str, str] = CLASS_WORDS) -> dict[str, int]:
    """The token of each class word, bare or with a leading space.

    Args:
        subject: a model with a tokenizer.
        words: the words, which are their own labels, or the word of each label.

    Raises:
        ValueError: a word is no single token in either form, or the token of another label too.
    """
    named = dict(words) if isinstance(words, Mapping) else {word: word for word in words}
    found: dict[str, int] = {}
    for label, word in named.items():
        token = _class_token(subject, word)
        if token in found.values():
            other = next(name for name, known in found.items() if known == token)
            raise ValueError(f"{label} and {other} have one class token, {word!r}; give another word to one")
        found[label] = token
    return found


def _class_token(subject: Subject, word: str) -> int:
    try:
        return subject.single_token(word)
    except ValueError:
        return subject.single_token(f" {word.lstrip()}")


def train(
    subject: Subject,
    examples: Sequence[Example],
    config: DualReward,
    tokens: Mapping[str, int] | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
    folder: Path | None = None,
) -> list[Step]:
    """Train what is trainable in the subject's model (see `lora.attached`) with AdamW.

    Args:
        subject: the model, with its trainable parameters chosen.
        examples: what to train on, each with its label.
        config: how.
        tokens: the token of each label; by default that of the word itself. Permute them for a null.
        on_step: called with each step after its update; its `parts` are "classification" and "answer", in nats. What
            it raises stops the training.
        folder: where the state is kept, now and then and when `on_step` raises. A training of the same model, examples
            and settings goes on from there, bit for bit.

    Returns:
        The steps that were made now.

    Raises:
        ValueError: no examples, one without a label, a class word that is no single token, settings out of range, or a
            state of other settings.
        IndexError: the model has no such classifier layer.
        OSError: the state cannot be written.
        Diverged: a loss is no longer finite; the weights are those of the last good step.
    """
    if not examples:
        raise ValueError("no samples to train on; give at least one")
    if tokens is None:
        tokens = class_tokens(subject, sorted({label for e in examples if (label := label_of(e))}))
    loss = sft_loss(subject, config.layer(subject.num_layers), config.cls_weight)
    samples = encode_all(subject, examples, class_tokens=tokens)
    kept = _Kept(subject, folder, _settings(subject, samples, config)) if folder else None
    optimizer = optimizer_for(config.optimisation)
    start = kept.load(optimizer) if kept else 0
    drawn = batches(samples, config.batch_size, config.seed, start)
    found = []
    for step in steps(subject.model, loss, drawn, config.optimisation, optimizer, start):
        found.append(step)
        if kept and (step.step % KEEP_EVERY == 0 or step.step == config.steps):
            kept.save(optimizer, step.step)
        try:
            on_step(step)
        except BaseException:
            if kept:
                kept.save(optimizer, step.step)
            raise
    return found


@dataclass(frozen=True)
class _Kept:
    """The state of a training in a folder."""

    subject: Subject
    folder: Path
    settings: str

    def load(self, optimizer: Any) -> int:
        return load_state(self.folder, self.subject.model, optimizer, self.settings)[0]

    def save(self, optimizer: Any, step: int) -> None:
        save_state(self.folder, self.subject.model, optimizer, step, self.settings, {})


def _settings(subject: Subject, samples: Sequence[Sample], config: DualReward) -> str:
    """All that decides the weights, before the first step."""
    trained = hashlib.sha256()
    for name, value in tree_flatten(subject.model.trainable_parameters()):
        trained.update(
            f"{name} {tuple(value.shape)} ".encode() + np.array(value.astype(mx.float32)).tobytes()
        )
    settings = {
        **asdict(config),
        "model": weights_key(subject.model),
        "targets": {f"{place.layer}.{place.path}": place.module.scale for place in adapted(subject.anatomy)},
        "start of what is trained": trained.hexdigest(),
        "examples": hashlib.sha256(repr(samples).encode()).hexdigest(),
    }
    return json.dumps(settings)
