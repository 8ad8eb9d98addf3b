"""The training arms that are compared: one run per seed, on the same items, evaluated on the same held-out ones.

Every arm has as many trainable parameters as V and O with the published rank. In the null arm, `permuted`, the class
words are permuted over the items: the losses are those of the dual reward, but a prompt's word cannot be predicted
beyond the frequency of each word. Relabelling the classes would be no null, since it can be learned as well as the true
words.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count as count_from
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lazarus_probe.anatomy.projections import found, sizes
from lazarus_probe.experiments.classifier_emergence.material import PHASE2
from lazarus_probe.experiments.classifier_emergence.readings import PARTS, Reading, read
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.subject.control_models import FIRST_SEED
from lazarus_probe.training.batches import Sample, batches
from lazarus_probe.training.dual_reward_config import DualReward
from lazarus_probe.training.loop import Optimisation, steps
from lazarus_probe.training.lora.lora import attached, ranks_for, trainable_count
from lazarus_probe.training.lora.side_by_side import attached_side_by_side, stacked
from lazarus_probe.training.losses import Loss, sft_loss
from lazarus_probe.training.settings import read_settings
from lazarus_probe.training.sft.config import SftConfig

if TYPE_CHECKING:
    from lazarus_probe.experiments.classifier_emergence.material import Material
    from lazarus_probe.experiments.study_tasks import Item
    from lazarus_probe.subject.subject import Subject

VO, QK, MLP = ("v_proj", "o_proj"), ("q_proj", "k_proj"), ("gate_proj", "up_proj", "down_proj")
OnStep = Callable[[int, float], None]
OnLosses = Callable[[list[float]], None]
# Runs that are trained side by side: more of them gain little (measured on the bundled model, on a CPU).
TOGETHER = 6
# Seeds the order of batch lengths, the same for all runs: side by side they are padded to the longest.
ORDER_SEED = 0


@dataclass(frozen=True)
class Arm:
    """One training arm.

    Attributes:
        label: a short description, for tables.
        targets: the projections with LoRA.
        learns: from both losses, from answers alone, from rewards of its own answers, or not at all.
        permuted: whether the class words are permuted over the items.
        routed: whether a second training on answers follows, with the layers up to the classifier layer frozen.
        untrained: whether it trains a new model of the same architecture.
    """

    label: str
    targets: tuple[str, ...] = VO
    learns: Literal["both", "answers", "rewards", "nothing"] = "both"
    permuted: bool = False
    routed: bool = False
    untrained: bool = False


ARMS = {
    "none": Arm("no training", (), "nothing"),
    "vo": Arm("dual reward, V/O"),
    "qk": Arm("dual reward, Q/K", QK),
    "mlp": Arm("dual reward, MLP", MLP),
    "all": Arm("dual reward, all projections", QK + VO + MLP),
    "lora": Arm("standard LoRA (Q/V), answers", ("q_proj", "v_proj"), "answers"),
    "sft": Arm("SFT on answers, V/O", VO, "answers"),
    "grpo": Arm("RL with verifiable rewards, V/O", VO, "rewards"),
    "permuted": Arm("dual reward, V/O, class words permuted", permuted=True),
    "routing": Arm("dual reward, then frozen classifier + routing", routed=True),
    "untrained": Arm("dual reward, V/O, of an untrained model", untrained=True),
}


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: an arm and a seed.

    Attributes:
        arm: its name in `ARMS`.
        seed: of LoRA, the order of the data, permutations and samples.
        trainable: number of trainable parameters.
        ranks: the LoRA rank of each target.
        reading: of the held-out items after training.
        losses: of the first and the last step, in the last training where there are two.
        seconds: duration of training and reading.
    """

    arm: str
    seed: int
    trainable: int
    ranks: Mapping[str, int]
    reading: Reading
    losses: tuple[float, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "reading": self.reading.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Run:
        """A run from its stored values.

        Raises:
            KeyError: a field is missing.
        """
        fields = {name: values[name] for name in cls.__dataclass_fields__}
        return cls(
            **{**fields, "reading": Reading.from_dict(values["reading"]), "losses": tuple(values["losses"])}
        )


def run_arm(
    subject: Subject,
    name: str,
    material: Material,
    layer: int,
    seed: int,
    parts: Collection[str] = PARTS,
    on_step: OnStep = lambda _step, _loss: None,
) -> Run:
    """Train one arm and evaluate it; the subject is restored afterwards.

    Args:
        subject: the model.
        name: in `ARMS`.
        material: the training and held-out items.
        layer: where the class is trained and read.
        seed: of everything random.
        parts: of the reading.
        on_step: called with each step and its loss; an exception from it ends the training.

    Raises:
        ValueError: the model lacks a projection, or a class word is not a single token.
        FloatingPointError: the training diverged.
    """
    began, losses = time.perf_counter(), list[float]()

    def keep(step: int, loss: float) -> None:
        losses.append(loss)
        on_step(step, loss)

    with trained(subject, ARMS[name], material, layer, seed, keep) as (model, ranks, count):
        reading = read(model, material, layer, parts)
    return Run(name, seed, count, ranks, reading, _ends(losses), _since(began))


def run_arms(
    subject: Subject,
    name: str,
    material: Material,
    layer: int,
    seeds: Sequence[int],
    parts: Collection[str] = PARTS,
    on_step: OnStep = lambda _step, _loss: None,
) -> list[Run]:
    """`run_arm` for every seed, equal up to rounding; trained side by side where possible.

    That is not possible where a run samples its own answers or has a model of its own, nor on the experts of a mixture.
    Side by side, `on_step` gets the mean loss of the runs.
    """
    arm = ARMS[name]
    alone = arm.learns in ("rewards", "nothing") or arm.untrained
    if alone or len(seeds) == 1 or _has_experts(subject, arm.targets):
        return [run_arm(subject, name, material, layer, seed, parts, on_step) for seed in seeds]
    began, readings, losses = time.perf_counter(), list[Reading](), list[list[float]]()
    ranks, scale = equal_ranks(subject, arm.targets, material), material.published.lora_scale

    def keep(step: list[float]) -> None:
        losses.append(step)
        on_step(len(losses), sum(step) / len(step))

    require_free_tail(subject)  # the loss would check this too, with too few rows to be rows of all runs
    with attached_side_by_side(subject, arm.targets, ranks, scale, seeds) as on:
        count = trainable_count(subject.model) // len(seeds)
        _teach(subject, arm, material, layer, seeds, keep)
        for run in range(len(seeds)):
            with on.alone(run):
                readings.append(read(subject, material, layer, parts))
    spent = round(_since(began) / len(seeds), 3)
    return [
        Run(name, seed, count, ranks, reading, _ends([step[run] for step in losses]), spent)
        for run, (seed, reading) in enumerate(zip(seeds, readings, strict=True))
    ]


def _ends(losses: Sequence[float]) -> tuple[float, ...]:
    return (losses[0], losses[-1]) if losses else ()


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)


def _has_experts(subject: Subject, targets: Sequence[str]) -> bool:
    projections = found(subject.anatomy, targets, range(subject.num_layers))
    return any(sizes(projection.module)[0] > 1 for _, projection in projections)


@contextmanager
def trained(
    subject: Subject, arm: Arm, material: Material, layer: int, seed: int, on_step: OnStep
) -> Iterator[tuple[Subject, dict[str, int], int]]:
    """The trained model, its LoRA ranks and its number of trainable parameters; restored on exit."""
    if arm.untrained:
        subject = subject.untrained(FIRST_SEED + seed)
    if arm.learns == "nothing":
        yield subject, {}, 0
        return
    ranks, steps_made = equal_ranks(subject, arm.targets, material), count_from(1)
    with attached(subject, arm.targets, rank=ranks, scale=material.published.lora_scale, seed=seed) as on:
        count = trainable_count(on)
        if arm.learns == "rewards":
            _reward(subject, material, seed, on_step)
        else:
            _teach(subject, arm, material, layer, [seed], lambda loss: on_step(next(steps_made), loss[0]))
        yield subject, ranks, count


def equal_ranks(subject: Subject, targets: tuple[str, ...], material: Material) -> dict[str, int]:
    """Ranks at which LoRA on `targets` has as many parameters as V and O at the published rank."""
    with attached(subject, VO, rank=material.published.lora_rank) as model:
        budget = trainable_count(model)
    return ranks_for(subject, targets, budget)


def _teach(
    subject: Subject, arm: Arm, material: Material, layer: int, seeds: Sequence[int], on_step: OnLosses
) -> None:
    published, size = material.published, material.size
    samples = [_samples(subject, arm, material, seed) for seed in seeds]
    loss = sft_loss(subject)
    if arm.learns == "both":
        loss = sft_loss(subject, layer, published.classifies.weight if published.classifies else 0.0)
    schedule = DualReward(steps=size.steps, learning_rate=size.learning_rate).optimisation
    _train(subject, samples, loss, schedule, size.batch_size, seeds, on_step)
    if arm.routed:
        _route(subject, samples, material, layer, seeds, on_step)


def _route(
    subject: Subject,
    samples: Sequence[list[Sample]],
    material: Material,
    layer: int,
    seeds: Sequence[int],
    on_step: OnLosses,
) -> None:
    """The published second phase, scaled in proportion to the first."""
    first, second, size = material.published, read_settings(SftConfig, PHASE2), material.size
    steps_of = (second.max_steps or 1) / (first.max_steps or 1)
    rate_of = second.learning_rate / first.learning_rate
    for block in subject.anatomy.blocks[: layer + 1]:
        block.freeze()
    schedule = DualReward(
        steps=max(1, round(steps_of * size.steps)), learning_rate=rate_of * size.learning_rate
    ).optimisation
    _train(subject, samples, sft_loss(subject), schedule, size.batch_size, seeds, on_step)


def _train(
    subject: Subject,
    samples: Sequence[list[Sample]],
    loss: Loss,
    schedule: Optimisation,
    batch_size: int,
    seeds: Sequence[int],
    on_step: OnLosses,
) -> None:
    """Train the runs of these seeds; `on_step` gets the loss of each."""
    drawn = [
        batches(rows, batch_size, seed, order_seed=ORDER_SEED)
        for rows, seed in zip(samples, seeds, strict=True)
    ]
    if len(seeds) == 1:
        for step in steps(subject.model, loss, drawn[0], schedule):
            on_step([step.loss])
        return
    together = ([stacked([micro_batch for (micro_batch,) in batch])] for batch in zip(*drawn, strict=True))
    for step in steps(subject.model, loss, together, schedule, runs=len(seeds)):
        on_step([step.parts[f"run {run}"] for run in range(len(seeds))])


def _samples(subject: Subject, arm: Arm, material: Material, seed: int) -> list[Sample]:
    samples = material.samples(subject)
    if not arm.permuted:
        return samples
    order = np.random.default_rng(seed).permutation(len(samples))
    return [
        replace(sample, class_token=samples[i].class_token) for sample, i in zip(samples, order, strict=True)
    ]


def _reward(subject: Subject, material: Material, seed: int, on_step: OnStep) -> None:
    from lazarus_probe.training.grpo.settings import Grpo
    from lazarus_probe.training.grpo.train import train_grpo

    items: dict[str, Item] = {item.prompt: item for item in material.trained}
    config = Grpo(
        steps=material.size.grpo_steps,
        batch_size=material.size.batch_size,
        max_tokens=material.task.max_tokens,
        learning_rate=material.size.learning_rate,
        seed=seed,
    )

    def reward(prompt: str, response: str) -> float:
        return float(material.task.is_right(response, items[prompt]))

    train_grpo(subject, list(items), reward, config, lambda step: on_step(step.step, step.loss))
