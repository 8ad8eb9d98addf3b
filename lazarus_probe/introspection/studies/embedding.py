"""What token embeddings already encode about a prompt, and what only layers add to it.

The published test read the last token, `=` in every arithmetic prompt and in no other, and scored its probe on what
that was fitted to. Here whole prompts are read (the mean over positions), or the token asked about; probes are scored
on templates, phrasings or operands that are held out, compared with a bag of tokens, an untrained model, the majority
class and shuffled labels. It is the implementation of the claims about embeddings, on the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.asking.ability import ability
from lazarus_probe.asking.exams import question_exam
from lazarus_probe.hooks import ActivationStore
from lazarus_probe.introspection.geometry.similarity import similarity
from lazarus_probe.introspection.probing.inputs import ProbeDataset, by_phrasing
from lazarus_probe.introspection.probing.layer_scan import probe_layers
from lazarus_probe.introspection.studies.operands import first_operands, why_no_operands
from lazarus_probe.sites import Site
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.subject.control_models import ControlModels, control_models
from lazarus_probe.subject.relative_depth import EMBED
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Table
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import LARGEST_OPERAND, OPERATIONS, Fact
from lazarus_probe.tasks.further_language import plain_prompts
from lazarus_probe.tasks.wordings import worded

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

ALL = tuple(OPERATIONS)
# Share of the questions that a model must answer, as for the hypothesis about the answer's absence.
ANSWERED = 0.5
# By test, the key of its embedding in saved results, and that of a layer.
KEYS = {
    "task": ("task_from_embedding", "task_after_L{}"),
    "answer": ("answer_r2_embedding", "answer_r2_L{}"),
    "operation": ("operation_from_embedding", "operation_after_L{}"),
    "operand": ("operand_r2_embedding", "operand_r2_L{}"),
}


@dataclass(frozen=True)
class Sizes:
    """Numbers of prompts: task prompts per wording, questions per wording of an operation, and answers."""

    per_template: int = 1
    per_cell: int = 1
    answers: int = 300


@dataclass(frozen=True)
class EmbeddingResult:
    """Probes and cosines at the embedding and after some layers.

    Attributes:
        model: its name.
        layers: read after, from 0.
        operations: that the arithmetic prompts are of.
        tests: by `task`, `answer`, `operation` and `operand`, and by layer (-1 is the embedding), a held-out probe;
            there is no `operation` where there is only one, nor what is `left_out`.
        answer_absent: that the answer is not in the embeddings, with the operands' sum as positive control.
        similarity: cosines of mean embeddings within a task and across.
        num_arith_prompts: of the task test.
        num_lang_prompts: of the task test.
        seed: of prompts, folds, shuffles and intervals.
        left_out: by test that does not apply to the model, why.
        unanswered: how few of the questions the model answers, where these are too few for its answers' absence to be a
            finding: what a model gives nowhere is not in its embeddings either.
    """

    model: str
    layers: tuple[int, ...]
    operations: tuple[str, ...]
    tests: Mapping[str, Mapping[int, Measurement]]
    answer_absent: Measurement
    similarity: Measurement
    num_arith_prompts: int
    num_lang_prompts: int
    seed: int
    left_out: Mapping[str, str] = field(default_factory=dict)
    unanswered: str = ""

    @property
    def answer_operation(self) -> str:
        """The operation that answers and operands are of."""
        return answer_operation(self.operations)

    @property
    def by_key(self) -> dict[str, Measurement]:
        """Every probe under the key of its result."""
        return {
            key_of(test, layer): measurement
            for test, by_layer in self.tests.items()
            for layer, measurement in by_layer.items()
        }

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, then intervals, controls and counts under the keys of the results."""
        measurements = self.by_key
        return {
            "model": self.model,
            "num_arith_prompts": self.num_arith_prompts,
            "num_lang_prompts": self.num_lang_prompts,
            "layers_analyzed": list(self.layers),
            "results": {key: measurement.score for key, measurement in measurements.items()} | self.cosines,
            "operations": list(self.operations),
            "answer_operation": self.answer_operation,
            "intervals": {
                key: [measurement.low, measurement.high] for key, measurement in measurements.items()
            },
            "controls": {key: controls_of(measurement) for key, measurement in measurements.items()}
            | {"similarity": controls_of(self.similarity)},
            "similarity": {
                name: getattr(self.similarity, name) for name in ("score", "low", "high", "n", "groups", "p")
            },
            "p": {key: measurement.p for key, measurement in measurements.items()},
            "plain_r2": {
                key: measurement.details["r2"]
                for key, measurement in measurements.items()
                if "r2" in measurement.details
            },
            "n": {key: measurement.n for key, measurement in measurements.items()},
            "groups": {key: measurement.groups for key, measurement in measurements.items()},
            "seed": self.seed,
            "left_out": dict(self.left_out),
            "unanswered": self.unanswered,
        }

    @property
    def cosines(self) -> dict[str, float]:
        """Mean cosines of prompts of different templates, under the published keys."""
        levels = self.similarity.details
        return {
            "within_arith_sim": levels["arithmetic and arithmetic"],
            "within_lang_sim": levels["language and language"],
            "between_task_sim": levels["arithmetic and language"],
        }

    def _repr_html_(self) -> str:
        rows = [
            (
                key,
                estimate(measurement.score, measurement.low, measurement.high),
                measurement.n,
                measurement.groups,
                str(measurement.best_control),
            )
            for key, measurement in self.by_key.items()
        ]
        columns = ("result", "held out", "n", "groups", "best control")
        return Table(columns, rows, f"Embeddings of {self.model}").html()


def key_of(test: str, at: int) -> str:
    """The key of a test's result at a layer, or for -1 at the embedding."""
    embedding, layer = KEYS[test]
    return embedding if at == EMBED else layer.format(at)


def controls_of(measurement: Measurement) -> dict[str, dict[str, float]]:
    """A measurement's controls as plain data."""
    return {
        control.name: {"score": control.score, "gain": control.gain, "low": control.low, "high": control.high}
        for control in measurement.controls
    }


def answer_operation(operations: Sequence[str]) -> str:
    """The operation that answers and operands are tested on: products, where they are among those requested."""
    return "multiply" if "multiply" in operations else operations[0]


def embedding(
    subject: Subject,
    layers: Sequence[int] = (0, 1, 2),
    operations: Sequence[str] = ALL,
    *,
    sizes: Sizes | None = None,
    seed: int = 0,
    progress: bool = False,
) -> EmbeddingResult:
    """Probe the embeddings, and the residual stream after some layers, for task, operation, operands and answer.

    Each set of prompts is run once through the model, five untrained models and five lesioned ones of each kind.

    Args:
        subject: the model.
        layers: to compare the embeddings with.
        operations: of the arithmetic prompts.
        sizes: how many prompts.
        seed: of prompts, folds, shuffles and intervals.
        progress: whether to show a bar on standard error.

    Raises:
        ValueError: no operation, or an unknown one.
        IndexError: a layer that does not exist.
    """
    if not operations or set(operations) - set(ALL):
        raise ValueError(f"operations are {list(operations)}; give some of {', '.join(ALL)}")
    sizes, untrained, store = Sizes() if sizes is None else sizes, control_models(subject), ActivationStore()
    read_layers = [EMBED, *dict.fromkeys(layers)]
    task = task_types(np.random.default_rng(seed), sizes.per_template, operations)
    no_operands = why_no_operands(subject, answer_operation(operations))
    probed = 2 + (len(operations) > 1) + (no_operands is None)
    beyond = answer_operation(operations) == "multiply"
    with bar(len(read_layers) * probed + 3 + beyond, progress) as step:

        def run(
            labelled: ProbeDataset, where: Sequence[int] = read_layers, **options: Any
        ) -> dict[int, Measurement]:
            return probe_layers(
                subject, untrained, labelled, where, store=store, seed=seed, step=step, **options
            )

        tests = {"task": run(task)}
        questions, families = answer_questions(
            np.random.default_rng(seed), sizes.answers, answer_operation(operations)
        )
        tests["answer"], absent = _answers(run, read_layers, questions, families)
        if len(operations) > 1:
            per_cell = max(1, sizes.per_cell * len(ALL) // len(operations))
            tests["operation"] = run(operation_types(np.random.default_rng(seed), per_cell, operations))
        if no_operands is None:
            read = first_operands(subject, np.random.default_rng(seed), answer_operation(operations))
            tests["operand"] = run(read, kind="regression")
        alike = _alike(subject, untrained, task, store, seed)
        step(1)
        unanswered = _unanswered(subject, questions)
        step(1)
    return EmbeddingResult(
        subject.name,
        tuple(read_layers[1:]),
        tuple(operations),
        tests,
        absent,
        alike,
        int((task.labels == "arithmetic").sum()),
        int((task.labels == "language").sum()),
        seed,
        {} if no_operands is None else {"operand": no_operands},
        unanswered,
    )


def _alike(
    subject: Subject, untrained: ControlModels, task: ProbeDataset, store: ActivationStore, seed: int
) -> Measurement:
    """Cosines of the task test's prompts, at the embedding."""
    texts, kinds, templates = list(map(str, task.prompts)), task.labels.tolist(), task.groups.tolist()
    return similarity(subject, untrained, texts, kinds, templates, Site("embed"), store=store, seed=seed)


def task_types(rng: np.random.Generator, per_template: int, operations: Sequence[str] = ALL) -> ProbeDataset:
    """Arithmetic or language, read from the whole prompt; a split keeps each wording together.

    Of the prompts of language most have numbers too. Where there are more of one kind, some are drawn: no more of
    language than of arithmetic, and of arithmetic half as many again at most, so that neither is over three fifths.
    """
    arithmetic = [(question.text, question.phrasing) for question in worded(rng, per_template, operations)]
    plain = [(example.prompt, example.phrasing) for example in plain_prompts(rng, per_template)]
    arithmetic = [arithmetic[row] for row in rng.permutation(len(arithmetic))[: len(plain) * 3 // 2]]
    language = [plain[row] for row in rng.permutation(len(plain))[: len(arithmetic)]]
    texts, wordings = zip(*arithmetic, *language, strict=True)
    labels = np.repeat(["arithmetic", "language"], [len(arithmetic), len(language)])
    return ProbeDataset(texts, labels, groups=wordings, at="mean")


def operation_types(
    rng: np.random.Generator, per_wording: int, operations: Sequence[str] = ALL
) -> ProbeDataset:
    """Which operation, in a held-out wording."""
    return by_phrasing(worded(rng, per_wording, operations), at="mean")


def answer_questions(
    rng: np.random.Generator, count: int, operation: str = "multiply"
) -> tuple[list[prompts.Question], NDArray[Any]]:
    """Questions about one operation, and the operand family of each."""
    facts = prompts.sample_facts(operation, count, rng)
    questions = [prompts.Question(fact.prompt(), fact, "spaced") for fact in facts]
    return questions, np.array([question.family for question in questions])


def beyond_operands(fact: Fact) -> float:
    """What a product has that no sum of a function of either operand has, over all operands from 1 to 50.

    Of such products .86 of the variance is such a sum, which any embedding of numbers holds. The rest is the product of
    the operands' distances from their mean.
    """
    mean = (1 + LARGEST_OPERAND) / 2
    return (fact.a - mean) * (fact.b - mean)


def _unanswered(subject: Subject, questions: Sequence[prompts.Question]) -> str:
    """How few of the questions a model answers, in the form that it answers best; empty where they are enough."""
    answers = ability(subject, question_exam(questions, at_once=True), ANSWERED)
    what = f"the {questions[0].fact.operation} questions"
    return "" if answers.reached else f"{answers.says(what)}; {ANSWERED:.2f} needed"


def _answers(
    run: Any,
    read_layers: Sequence[int],
    questions: Sequence[prompts.Question],
    families: NDArray[Any],
) -> tuple[dict[int, Measurement], Measurement]:
    """Whether the answer is readable: from the whole prompt's embeddings, and after layers where it is to begin.

    The control `operands` is the same probe on the two operands as numbers: a product is to a good part linear in them.
    """
    texts = [question.text for question in questions]
    answers = np.array([float(question.fact.answer) for question in questions])
    operands = {"operands": np.array([[q.fact.a, q.fact.b] for q in questions], dtype=float)}
    prompts_read = ProbeDataset(texts, answers, families, at="mean")
    measurements = run(prompts_read, [EMBED], kind="regression", control_features=operands)
    sums = np.array([float(question.fact.a + question.fact.b) for question in questions])
    positive = run(replace(prompts_read, labels=sums), [EMBED], kind="regression")[EMBED]
    none = measurements[EMBED]
    if questions[0].fact.operation == "multiply":
        beyond = np.array([beyond_operands(question.fact) for question in questions])
        none = run(replace(prompts_read, labels=beyond), [EMBED], kind="regression")[EMBED]
    if len(read_layers) > 1:
        measurements |= run(
            ProbeDataset(texts, answers, families),
            read_layers[1:],
            kind="regression",
            control_features=operands,
        )
    return measurements, absent(none, positive)


def absent(answer: Measurement, operand_sum: Measurement) -> Measurement:
    """The answer's score as that of an absence; the same probe on the operands' sum is its positive control."""
    gain = Control(
        "operand_sum",
        operand_sum.score,
        operand_sum.score - answer.score,
        operand_sum.low - answer.high,
        operand_sum.high - answer.low,
    )
    return replace(answer, controls=(gain,), p=None)
