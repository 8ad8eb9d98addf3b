"""Does training some projections make a layer's logit lens name the operation? One arm is one choice of projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.logit_lens import logit_lens
from lazarus_probe.introspection.rates import rate
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import is_answer
from lazarus_probe.tasks.prompts import Question
from lazarus_probe.training.dual_reward import DualReward, Sample, class_tokens, classifier_layer, train
from lazarus_probe.training.lora import attached, trainable_count

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Arm:
    """What held-out questions show after training, over S seeds.

    Attributes:
        targets: the projections that were trained.
        named: (S, N) whether the lens puts the class word on top.
        probability: (S, N) of the class word.
        answered: (S, N) whether the answer is still right.
        trainable: how many numbers were trained.
    """

    targets: tuple[str, ...]
    named: NDArray[np.bool_]
    probability: NDArray[Any]
    answered: NDArray[np.bool_]
    trainable: int


def split_families(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Questions to train on and held-out ones; an operand family is on one side only."""
    families = sorted({question.family for question in questions})
    order = np.random.default_rng(seed).permutation(families)
    kept = set(order[: round(share * len(families))].tolist())
    return [q for q in questions if q.family not in kept], [q for q in questions if q.family in kept]


def run_arm(
    subject: Subject,
    targets: Sequence[str],
    trained_on: Sequence[Question],
    held_out: Sequence[Question],
    config: DualReward,
    *,
    rank: int = 16,
    seeds: Sequence[int] = (0,),
) -> Arm:
    """Train LoRA on `targets` once a seed and read the held-out questions; the model is left as it was.

    The class word is read where it is trained: at the last token of the prompt, at the classifier layer.
    """
    samples = [Sample(q.text, q.fact.response(q.phrasing), q.fact.operation) for q in trained_on]
    tokens = class_tokens(subject, sorted({sample.label for sample in samples}))
    readings, trainable = [], 0
    for seed in seeds:
        with attached(subject, targets, rank=rank, seed=seed) as model:
            trainable = trainable_count(model)
            train(subject, samples, replace(config, seed=seed), tokens)
            readings.append(read(subject, held_out, tokens, config.classifier_layer))
    named, probability, answered = (np.stack(column) for column in zip(*readings, strict=True))
    return Arm(tuple(targets), named, probability, answered, trainable)


def read(
    subject: Subject, questions: Sequence[Question], tokens: Mapping[str, int], layer: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[Any], NDArray[np.bool_]]:
    """For each question: the class word on top of the lens, its probability, and the answer right; each (N,)."""
    layer = classifier_layer(subject.num_layers) if layer is None else layer
    texts = [question.text for question in questions]
    log_probs = logit_lens(subject, texts, [layer]).log_probs[:, 0]
    wanted = np.array([tokens[question.fact.operation] for question in questions])
    right = [
        is_answer(text, q.fact.answer) for text, q in zip(greedy(subject, texts, 5), questions, strict=True)
    ]
    probability = np.exp(log_probs[np.arange(len(wanted)), wanted])
    return log_probs.argmax(axis=-1) == wanted, probability, np.array(right)


def compare_arms(
    arm: Arm,
    others: Mapping[str, NDArray[np.bool_]],
    details: Mapping[str, Any],
    seed: int = 0,
    *,
    absence: bool = False,
) -> Measurement:
    """The rate of the class word on top in one arm, over seeds, against that of other arms on the same questions.

    The independent unit is a training run: held-out questions of one run share its weights.

    Args:
        arm: what is claimed about.
        others: by name, (S, N) or (N,) of whether the class word is on top.
        details: kept beside the measurement.
        seed: of the intervals.
        absence: whether the claim is that the arm shows nothing; then the others are positive controls, and the gain is
            theirs over the arm.
    """
    return rate(
        "rate of the class word on top",
        arm.named.ravel(),
        np.repeat(np.arange(len(arm.named)), arm.named.shape[1]),
        {name: np.broadcast_to(other, arm.named.shape).ravel() for name, other in others.items()},
        positive=tuple(others) if absence else (),
        seed=seed,
        details={
            **details,
            "targets": list(arm.targets),
            "trainable": arm.trainable,
            "rate_by_seed": arm.named.mean(axis=1).round(3).tolist(),
            "mean_probability": float(arm.probability.mean()),
            "answers_right": float(arm.answered.mean()),
        },
    )
