"""Training with two losses: naming the operation at a middle layer, and giving the answer at the last.

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
from lazarus_probe.subject.spellings import Spelled, in_one_form
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
    "class_spellings",
    "class_tokens",
    "lora_layers",
    "train",
]

CLASS_WORDS = ("multiply", "add", "subtract", "divide")
KEEP_EVERY = 100


def lora_layers(layer: int, num_layers: int) -> range:
    """The layers that need LoRA for a class word at `layer`: from the one below it upwards.

    Lower layers carry the content of all questions, also of those outside the training data: training them too loses
    more answers to the latter.
    """
    return range(max(0, layer - 1), num_layers)


def class_tokens(subject: Subject, words: Sequence[str] | Mapping[str, str] = CLASS_WORDS) -> dict[str, int]:
    """The token of each class word, as `class_spellings` chooses it.

    Args:
        subject: a model with a tokenizer.
        words: words that are their own labels, or a word for each label.

    Raises:
        ValueError: a word is not a single token in any spelling, or two labels share a token.
    """
    return dict(class_spellings(subject, words).tokens)


def class_spellings(subject: Subject, words: Sequence[str] | Mapping[str, str] = CLASS_WORDS) -> Spelled:
    """By label the token of each class word: all words in the first spelling in which each is one token.

    That is as they are written, or else with a space before them, or capitalised; one convention, so that no class is
    told from another by its space. Only where no spelling makes all of them one token, each has its own first one. A
    word that is given with a space at an end, or in quotes, is taken as it stands.

    Raises:
        ValueError: a word is not a single token in any spelling, or two labels share a token.
    """
    named = dict(words) if isinstance(words, Mapping) else {word: word for word in words}
    spelled = in_one_form(subject, list(dict.fromkeys(named.values())))
    token_of: dict[str, int] = {}
    for label, word in named.items():
        token = spelled.tokens[word]
        if token in token_of.values():
            other = next(name for name, other_token in token_of.items() if other_token == token)
            raise ValueError(f"{label} and {other} have one class token, {word!r}; give another word to one")
        token_of[label] = token
    return Spelled(token_of, {label: spelled.spellings[word] for label, word in named.items()}, spelled.form)


def train(
    subject: Subject,
    examples: Sequence[Example],
    config: DualReward,
    tokens: Mapping[str, int] | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
    folder: Path | None = None,
) -> list[Step]:
    """Train the trainable parameters of the subject's model (see `lora.attached`) with AdamW.

    Args:
        subject: the model, with its trainable parameters chosen.
        examples: the training data, each with its label.
        config: the training settings.
        tokens: the token of each label; by default that of the word itself. Permute them for a null.
        on_step: called with each step after its update; its `parts` are "classification" and "answer", in nats. An
            exception from it stops the training.
        folder: where the state is saved, at intervals and when `on_step` raises. A training with the same model,
            examples and settings resumes from there, bit for bit.

    Returns:
        The steps made in this call.

    Raises:
        ValueError: no examples, one without a label, a class word that is not a single token, settings out of range, or
            a saved state of other settings.
        IndexError: the model has no such classifier layer.
        OSError: the state cannot be written.
        Diverged: a loss is not finite; the weights are those of the last good step.
    """
    if not examples:
        raise ValueError("no samples to train on; give at least one")
    if tokens is None:
        tokens = class_tokens(subject, sorted({label for e in examples if (label := label_of(e))}))
    loss = sft_loss(subject, config.layer(subject.num_layers), config.cls_weight)
    samples = encode_all(subject, examples, class_tokens=tokens)
    state = _StoredState(subject, folder, _settings(subject, samples, config)) if folder else None
    optimizer = optimizer_for(config.optimisation)
    start = state.load(optimizer) if state else 0
    drawn = batches(samples, config.batch_size, config.seed, start)
    steps_made = []
    for step in steps(subject.model, loss, drawn, config.optimisation, optimizer, start, group=subject.group):
        steps_made.append(step)
        if state and (step.step % KEEP_EVERY == 0 or step.step == config.steps):
            state.save(optimizer, step.step)
        try:
            on_step(step)
        except BaseException:
            if state:
                state.save(optimizer, step.step)
            raise
    return steps_made


@dataclass(frozen=True)
class _StoredState:
    """The saved state of a training in a folder."""

    subject: Subject
    folder: Path
    settings: str

    def load(self, optimizer: Any) -> int:
        return load_state(self.folder, self.subject.model, optimizer, self.settings)[0]

    def save(self, optimizer: Any, step: int) -> None:
        save_state(self.folder, self.subject.model, optimizer, step, self.settings, {})


def _settings(subject: Subject, samples: Sequence[Sample], config: DualReward) -> str:
    """Everything that determines the trained weights."""
    trained = hashlib.sha256()
    for name, value in tree_flatten(subject.model.trainable_parameters()):
        trained.update(
            f"{name} {tuple(value.shape)} ".encode() + np.array(value.astype(mx.float32)).tobytes()
        )
    settings = {
        **asdict(config),
        "model": weights_key(subject.model),
        "targets": {
            f"{projection.layer}.{projection.path}": projection.module.scale
            for projection in adapted(subject.anatomy)
        },
        "start of what is trained": trained.hexdigest(),
        "examples": hashlib.sha256(repr(samples).encode()).hexdigest(),
    }
    return json.dumps(settings)
