"""One draw of a world in which a claim is false by construction, measured by the analysis that its kind is measured by.

Each function takes a seed and gives a claim, with a threshold that chance reaches, and its measurement. A false alarm
is a verdict of `supported`. For `absence` and `invariance` the effect is exactly as large as the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, decide
from lazarus_probe.experiments.classifier_emergence.arms import Run
from lazarus_probe.experiments.classifier_emergence.material import SMOKE, Material
from lazarus_probe.experiments.classifier_emergence.measures import measure
from lazarus_probe.experiments.classifier_emergence.readings import read
from lazarus_probe.experiments.study_tasks import Item, StudyTask
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.differential import Graded, differential_ablation, grade
from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.geometry.tuning import Change, unchanged
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.transfer import transfer
from lazarus_probe.introspection.probing.emergence import emergence
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment
from lazarus_probe.introspection.vocabulary.positive_controls import Readable
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import ControlModel, control_models
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks.arithmetic import Fact, is_answer
from lazarus_probe.tasks.prompts import Question, texts_and_answers
from lazarus_probe.training.dual_reward import train
from lazarus_probe.training.dual_reward_config import DualReward
from lazarus_probe.training.lora.lora import attached, trainable_count
from lazarus_probe.training.sft.jsonl import Example

OF_A_PROBE = ("majority", "bag_of_tokens", "untrained", "shuffled_labels")
SHARE = 0.2  # of the operands that an absence or invariance does not hold for: exactly its threshold


@dataclass(frozen=True)
class Draw:
    """A claim that is false, and what was measured."""

    claim: Claim
    measurement: Measurement

    @property
    def alarms(self) -> bool:
        return decide(self.claim, self.measurement).outcome is Outcome.SUPPORTED

    def seen_by(self, *names: str) -> Draw:
        """The same with some controls only, or none: what a test without the others would judge."""
        kept = tuple(control for control in self.measurement.controls if control.name in names)
        kept = kept or (Control("none", 0.0, 1.0, 1.0, 1.0),)
        declared = self.claim.model_copy(update={"controls": tuple(control.name for control in kept)})
        return Draw(declared, replace(self.measurement, controls=kept))


def claim(kind: str, threshold: float, *controls: str, margin: float = 0.01) -> Claim:
    """A claim that is as easy to support as the controls and the statistics let it be."""
    return Claim(
        id=kind.replace("_", "-"),
        statement="what is false here",
        source="none",
        kind=kind,
        threshold=threshold,
        margin=margin,
        controls=controls,
        minimum_groups=5,
    )


def subject_of(circuit: planted.Planted) -> Subject:
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)


def operands(rng: np.random.Generator, count: int) -> list[int]:
    """Different operands."""
    return [int(number) for number in rng.choice(planted.NUMBERS, size=count, replace=False)]


def others(rng: np.random.Generator, firsts: list[int], count: int) -> list[int]:
    """Different operands that are none of the first ones: no a*b of one template is another's b*a."""
    rest = [number for number in planted.NUMBERS if number not in firsts]
    return [int(number) for number in rng.choice(rest, size=count, replace=False)]


@cache
def architecture(layers: int) -> Subject:
    return subject_of(planted.router(0, layers=layers))


def untrained_and_controls(seed: int, layers: int = 2) -> tuple[Subject, tuple[ControlModel, ...]]:
    """A model with random weights, and others to be its control."""
    return architecture(layers).untrained(seed + 1), control_models(architecture(layers))


def templates(rng: np.random.Generator, groups: int, rows: int, grouped: bool = True) -> ProbeDataset:
    """Prompts of `groups` templates, their first operands, with labels dealt to templates at random."""
    index = np.repeat(np.arange(groups), rows)
    firsts = operands(rng, groups)
    seconds = np.concatenate([others(rng, firsts, rows) for _ in firsts])
    labels = rng.permutation(np.arange(groups) % 2)[index]
    texts = [planted.prompt(firsts[g], int(b)) for g, b in zip(index, seconds, strict=True)]
    return ProbeDataset(texts, labels, index if grouped else np.arange(len(index)))


@cache
def decodability(seed: int, grouped: bool = True) -> Draw:
    """A label that was dealt to templates at random, read from an untrained model."""
    labelled = templates(np.random.default_rng(seed), 16, 4, grouped)
    found = probe(*untrained_and_controls(seed), labelled, Site("resid_post", 1), seed=seed)
    return Draw(claim("decodability", 0.5, *OF_A_PROBE), found)


def token_property(seed: int) -> ProbeDataset:
    """Prompts labelled with a property of one of their tokens."""
    rng = np.random.default_rng(seed)
    firsts = operands(rng, 8)
    pairs = [(a, b) for a in firsts for b in others(rng, firsts, 8)]
    return ProbeDataset(
        [planted.prompt(a, b) for a, b in pairs],
        np.array([firsts.index(a) % 2 for a, _ in pairs]),
        np.arange(len(pairs)),
        at="mean",
    )


@cache
def decodability_of_tokens(seed: int) -> Draw:
    """What one token of the prompt says, read from an untrained model, which has it as any other model has."""
    labelled = token_property(seed)
    found = probe(*untrained_and_controls(seed), labelled, Site("resid_post", 1), seed=seed)
    return Draw(claim("decodability", 0.5, *OF_A_PROBE), found)


@cache
def many_gates(layers: int) -> Subject:
    """Each layer breaks a random half of the questions."""
    rng = np.random.default_rng(0)
    halves = {layer: operands(rng, len(planted.NUMBERS) // 2) for layer in range(layers)}
    return subject_of(planted.gates(halves, layers=layers))


class InSample(Graded):
    """Questions of which all choose the layer, and all test it."""

    def rows(self, kind: str, *, confirming: bool) -> Any:  # noqa: ARG002 - all are on either side
        return (self.kinds == kind) & self.right


def causal_necessity(seed: int, per_kind: int = 40, layers: int = 4, held_out: bool = True) -> Draw:
    """Kinds that were dealt to questions at random, in a model whose every layer breaks half of them."""
    rng = np.random.default_rng(seed)
    count, subject = 3 * per_kind, many_gates(layers)
    pairs = list(zip(operands(rng, count), operands(rng, count), strict=True))
    kinds = rng.permutation(np.repeat(["hard", "easy", "between"], per_kind)).tolist()
    graded = grade(
        subject,
        [planted.prompt(a, b) for a, b in pairs],
        [float(a) for a, _ in pairs],
        kinds,
        [f"{a},{b}" for a, b in pairs],
        seed,
    )
    graded = graded if held_out else InSample(**vars(graded))
    found = differential_ablation(subject, graded, "hard", "easy", "between", seed=seed)
    return Draw(claim("causal_necessity", 0.0, "random_neurons", "between"), found)


@cache
def sign_teller() -> tuple[planted.Planted, Subject]:
    """Says 1 or 0, as its last layer finds out."""
    circuit = planted.decodable(1, layers=2)
    return circuit, subject_of(circuit)


@cache
def causal_sufficiency(seed: int, pairs: int = 40) -> Draw:
    """Sources drawn blindly: their state brings the declared answer half of the time, as any other source's does."""
    rng, (circuit, subject) = np.random.default_rng(seed), sign_teller()
    dealt = []
    for a, b, c, d in zip(*(operands(rng, pairs) for _ in range(4)), strict=True):
        own = circuit.answer(c, d)
        dealt.append(PromptPair(planted.prompt(a, b), planted.prompt(c, d), 1 - own, own))
    families = [str(index) for index in range(pairs)]
    found = transfer(subject, dealt, 1, 4, families, seed=seed)
    return Draw(claim("causal_sufficiency", 0.3, "random_position", "other_pair"), found)


@cache
def tuned_pair() -> tuple[Subject, Subject]:
    """A model whose gate was lost in tuning, and with it the answer for exactly the threshold's share; and its base."""
    needed = {1: operands(np.random.default_rng(0), round(SHARE * len(planted.NUMBERS)))}
    base, tuned = (subject_of(planted.gates(needed, layers=2)) for _ in range(2))
    gate = tuned.model.layers[1].mlp.down_proj
    gate.weight = gate.weight * 0
    return tuned, base


@cache
def invariance(seed: int, prompts: int = 60) -> Draw:
    """A tuned model answers fewer prompts than its base, by exactly the threshold's share of all prompts."""
    rng, (tuned, base) = np.random.default_rng(seed), tuned_pair()
    firsts, seconds = operands(rng, prompts), operands(rng, prompts)
    texts = [planted.prompt(a, b) for a, b in zip(firsts, seconds, strict=True)]

    def right(subject: Subject) -> Any:
        said = greedy(subject, texts, 2)
        return np.array([is_answer(text, a) for text, a in zip(said, firsts, strict=True)])

    one, other, known = (right(subject) for subject in (tuned, base, architecture(2).untrained(seed)))
    units = np.arange(prompts)
    found = unchanged(
        tuned,
        base,
        Change(one, other, units),
        {"untrained": Change(known, other, units)},
        "answers",
        seed=seed,
    )
    return Draw(claim("invariance", SHARE, "untrained"), found)


@cache
def sometimes_announces() -> Subject:
    """Announces the class word for exactly the threshold's share of the operands."""
    chosen = operands(np.random.default_rng(0), round(SHARE * len(planted.NUMBERS)))
    return subject_of(planted.announcer(0, chosen, layers=2))


OF_A_LENS = ("word_put_in", "answer_at_last_layer")


def own_answers(subject: Subject, questions: list[Question]) -> Readable:
    """What a planted model has in place of capitals: the answers to its own questions."""
    contexts, answers = with_answers(subject, *texts_and_answers(questions))
    return Readable("answer_at_last_layer", contexts, answers, [question.family for question in questions])


def absence(seed: int, prompts: int = 60) -> Draw:
    """The lens says the class word for exactly the threshold's share of all operands."""
    rng, subject = np.random.default_rng(seed), sometimes_announces()
    facts = [Fact("multiply", a, 1) for a in operands(rng, prompts)]
    questions = [Question(fact.prompt("compact"), fact, "compact") for fact in facts]
    words = {"multiply": spellings(subject, "multiply")}
    readable = own_answers(subject, questions)
    found = vocabulary_alignment(subject, questions, words, 0, readable, seed=seed)
    return Draw(claim("absence", SHARE, *OF_A_LENS), found)


def emergence_of_chance(seed: int, layers: int = 3) -> Draw:
    """A label that was dealt to templates at random, looked for in all layers of an untrained model."""
    labelled = templates(np.random.default_rng(seed), 24, 2)
    found = emergence(*untrained_and_controls(seed, layers), labelled, threshold=0.5, margin=0.01, seed=seed)
    return Draw(claim("emergence", 0.5, *OF_A_PROBE, "layer_before"), found)


@cache
def emergence_of_tokens(seed: int) -> Draw:
    """At a layer that was declared, something that is as readable before it: what one token says."""
    found = emergence(
        *untrained_and_controls(seed), token_property(seed), threshold=0.5, margin=0.01, layer=1, seed=seed
    )
    return Draw(claim("emergence", 0.5, *OF_A_PROBE, "layer_before"), found)


TRAINING = DualReward(steps=24, classifier_layer=0, cls_weight=1.0, learning_rate=0.02, batch_size=8)
TARGETS = ("v_proj", "o_proj", "up_proj", "down_proj")


def asked(rng: np.random.Generator, count: int, swapped: bool) -> tuple[Item, ...]:
    """`a*1=` and `a+1=`, each with its own operation as label, or each with the other's."""
    labels = {"multiply": "add", "add": "multiply"} if swapped else {"multiply": "multiply", "add": "add"}
    return tuple(
        Item(Fact(operation, a, 1).prompt("compact"), "1", label, str(a))
        for a in operands(rng, count)
        for operation, label in labels.items()
    )


@cache
def training_run(seed: int, swapped: bool) -> tuple[Run, Run]:
    """One model trained to name the operation, or the other one, and asked for the true one; and before training."""
    rng, subject = np.random.default_rng(seed), architecture(2).untrained(seed)
    words = {"multiply": "multiply", "add": "add"}
    task = StudyTask("arithmetic", words, lambda _rng, _count: [], lambda _text, _item: False, 1)
    shared = Material(task, SMOKE, asked(rng, 20, swapped), asked(rng, 10, False), {})
    before = Run("none", seed, 0, {}, read(subject, shared, 0, ()), (), 0.0)
    examples = [Example(item.prompt, item.response, item.label) for item in shared.trained]
    with attached(subject, TARGETS, rank=4, seed=seed) as model:
        train(subject, examples, replace(TRAINING, seed=seed), shared.tokens(subject))
        after = Run("vo", seed, trainable_count(model), {}, read(subject, shared, 0, ()), (), 0.0)
    return after, before


def training_effect(seed: int, runs: int = 6, pool: int | None = None, by_run: bool = True) -> Draw:
    """Trained on labels that were right or swapped by coin, a run at a time, so that half the runs name the truth.

    Args:
        seed: of the draw.
        runs: trained.
        pool: how many runs of each kind there are to draw from; None trains new ones.
        by_run: whether a run is the independent unit, or each of its questions.
    """
    rng = np.random.default_rng(seed)
    numbers = seed * runs + np.arange(runs) if pool is None else rng.permutation(pool)[:runs]
    pairs = [training_run(int(number), bool(rng.integers(2))) for number in numbers]
    after, before = ([pair[side] for pair in pairs] for side in (0, 1))
    if not by_run:
        after, before = ([part for run in each for part in taken_apart(run)] for each in (after, before))
    stated = claim("training_effect", 0.5, "none").model_copy(
        update={"parameters": {"arm": "vo", "reads": "named"}}
    )
    return Draw(stated, measure(stated, {"vo": after, "none": before}, seed))


def taken_apart(run: Run) -> list[Run]:
    """A run as one run a question: what takes questions for independent would see."""
    reading = run.reading
    return [
        replace(
            run,
            reading=replace(
                reading, named=reading.named[i : i + 1], probability=reading.probability[i : i + 1]
            ),
        )
        for i in range(len(reading.named))
    ]


def absence_unseen(seed: int) -> Draw:
    """The lens of an untrained model says no class word; nor does it say anything else, so that shows no absence."""
    rng, subject = np.random.default_rng(seed), architecture(2).untrained(seed)
    facts = [Fact("multiply", a, 1) for a in operands(rng, 40)]
    questions = [Question(fact.prompt("compact"), fact, "compact") for fact in facts]
    words, readable = {"multiply": spellings(subject, "multiply")}, own_answers(subject, questions)
    found = vocabulary_alignment(subject, questions, words, 0, readable, seed=seed)
    return Draw(claim("absence", SHARE, *OF_A_LENS), found)
