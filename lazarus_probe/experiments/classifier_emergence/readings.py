"""Evaluating a model on the items of a study, before or after a training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.asking.ability import TRIAL, falls_short
from lazarus_probe.asking.choice import choose
from lazarus_probe.hooks import collect
from lazarus_probe.introspection.lens.logit_lens import read_states
from lazarus_probe.sites import resid_post
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_classification
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.generate import greedy

if TYPE_CHECKING:
    from lazarus_probe.experiments.classifier_emergence.material import Material
    from lazarus_probe.organisms.corpus import Line
    from lazarus_probe.subject.subject import Subject

FOLDS = 4
ROWS = 128  # larger batches are slower on a CPU
# The parts that take longer than the lens.
PARTS = ("answered", "decoded", "others")
BOOLEANS = ("named", *PARTS)
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Reading:
    """Results on N held-out items and M prompts of other tasks.

    Attributes:
        named: (N,) whether the class word is the lens's top token, over the full vocabulary.
        probability: (N,) of the class word by the lens.
        answered: (N,) whether the greedy answer is right, or the choice where the task is one.
        decoded: (N,) whether a linear probe, fitted on other families, reads the class at the same site.
        others: (M,) whether the prompts of other tasks are answered.

    Parts that no claim needs are empty.
    """

    named: Bools
    probability: NDArray[np.float64]
    answered: Bools
    decoded: Bools
    others: Bools

    @property
    def both(self) -> Bools:
        """(N,) whether an item is named and answered."""
        return self.named & self.answered

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        bools = {name: getattr(self, name).astype(int).tolist() for name in BOOLEANS}
        return {"probability": [float(f"{value:.6g}") for value in self.probability], **bools}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reading:
        """A reading from its stored values.

        Raises:
            KeyError: a part is missing.
        """
        bools = {name: np.array(values[name], bool) for name in BOOLEANS}
        return cls(probability=np.array(values["probability"], float), **bools)


def read(subject: Subject, material: Material, layer: int, parts: Collection[str] = PARTS) -> Reading:
    """Read held-out items: the class word after `layer` at the last token of the prompt, and the requested parts."""
    tokens = material.tokens(subject)
    wanted = np.array([tokens[item.label] for item in material.held_out])
    site = resid_post(layer)
    states = collect(subject, _prompts(material), [site])[site]  # once, for the lens and for the probe
    log_probs = read_states(subject, states)
    nothing = np.zeros(0, bool)
    return Reading(
        named=log_probs.argmax(axis=-1) == wanted,
        probability=np.exp(log_probs[np.arange(len(wanted)), wanted].astype(np.float64)),
        answered=answered(subject, material) if "answered" in parts else nothing,
        decoded=decoded(states, material) if "decoded" in parts else nothing,
        others=others(subject, material) if "others" in parts else nothing,
    )


def _prompts(material: Material) -> list[str]:
    return [item.prompt for item in material.held_out]


def share_answered(subject: Subject, material: Material, needed: float) -> tuple[float, int]:
    """The share of held-out items that a model answers, and of how many.

    That is all of them; or a few, evenly spaced, where their exact bound shows that the needed share is not reached
    (`asking.ability`).
    """
    items = len(material.held_out)
    trial = np.unique(np.linspace(0, items - 1, min(TRIAL, items)).round().astype(int)).tolist()
    right = answered(subject, material, trial)
    if not falls_short(int(right.sum()), len(trial), needed):
        right = answered(subject, material)
    return float(right.mean()), len(right)


def answered(subject: Subject, material: Material, rows: Sequence[int] | None = None) -> Bools:
    """(N,) whether the greedy answer to each held-out item, or to some by their row, is right.

    Where the task has choices, it is whether the likelier of them is right (`asking.choice`): a model may well tell
    positive from negative reviews that goes on with something else.
    """
    items = [material.held_out[row] for row in (range(len(material.held_out)) if rows is None else rows)]
    prompts = [item.prompt for item in items]
    if material.task.choices:
        chosen = choose(subject, prompts, material.task.choices)
        right = [item.response.strip() for item in items]
        return np.array([pick == answer for pick, answer in zip(chosen, right, strict=True)])
    completions = _answers(subject, prompts, material.task.max_tokens)
    return np.array([material.task.is_right(*pair) for pair in zip(completions, items, strict=True)])


def others(subject: Subject, material: Material) -> Bools:
    """(M,) whether the prompts of other tasks are answered, task after task."""
    return np.concatenate([_right(subject, name, lines) for name, lines in material.others.items()])


def decoded(states: NDArray[np.float32], material: Material) -> Bools:
    """(N,) whether a probe of held-out items' states (N, D), fitted on other families, is right; 4 grouped folds."""
    items = material.held_out
    labels = np.array([item.label for item in items])
    groups = [item.family for item in items]
    with one_thread():
        predictions = out_of_fold_classification(states.reshape(len(items), -1), labels, groups, k=FOLDS)
    hits: Bools = predictions == labels
    return hits


def _right(subject: Subject, task: str, lines: Sequence[Line]) -> Bools:
    """Whether a model answers lines of the bundled model's own tasks."""
    from lazarus_probe.tasks.arithmetic import OPERATIONS, is_answer
    from lazarus_probe.training.pretraining.evaluate import NUMBER_TOKENS, TEXT_TOKENS

    numbers = task in OPERATIONS
    answers = _answers(subject, [line.prompt for line in lines], NUMBER_TOKENS if numbers else TEXT_TOKENS)
    pairs = zip(answers, lines, strict=True)
    if numbers:
        return np.array([is_answer(answer, float(line.response)) for answer, line in pairs])
    return np.array([answer == line.response for answer, line in pairs])


def _answers(subject: Subject, prompts: Sequence[str], tokens: int) -> list[str]:
    slices = (prompts[start : start + ROWS] for start in range(0, len(prompts), ROWS))
    return [answer for part in slices for answer in greedy(subject, part, tokens)]
