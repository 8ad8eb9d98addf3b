"""What is decodable from the embeddings, and what only from later layers?

The published test read the last token, which is `=` in every arithmetic prompt and never in a language prompt. Here
the mean over all positions is read, or the token in question, and probes are tested on held-out templates, phrasings or
numbers.
"""

import numpy as np
import pytest

from lazarus_probe.asking.exams import question_exam
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.inputs import by_phrasing
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.studies.embedding import (
    absent,
    answer_questions,
    beyond_operands,
    task_types,
)
from lazarus_probe.introspection.studies.operands import first_operands, why_no_operands

EARLY = ("L0", "L1", "L2")
LATER = ("L0", "L1", "L2", "half", "last")
QUESTIONS = 500
PER_TEMPLATE = 1  # prompts, of the task type


def residual(where, subject):
    """The residual stream after a layer; a shallow model is read at its last layer at most."""
    last = subject.num_layers - 1
    named = {"half": subject.num_layers // 2, "last": last}
    return Site("resid_post", named[where] if where in named else min(last, int(where[1:])))


def early(subject):
    """What the cases of a claim about the first layers read."""
    return [residual(where, subject) for where in EARLY]


@pytest.mark.claim("task-type-in-embeddings")
def test_task_type(evidence, probed, family_rng):
    evidence.record(probed(task_types(family_rng, PER_TEMPLATE), Site("embed")))


@pytest.mark.claim("task-type-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_task_type_after(subject, evidence, probed, family_rng, where):
    site = residual(where, subject)
    evidence.record(probed(task_types(family_rng, PER_TEMPLATE), site, also=early(subject)))


@pytest.mark.claim("operation-in-embeddings")
def test_operation(evidence, probed, operation_questions):
    evidence.record(probed(by_phrasing(operation_questions, at="mean"), Site("embed")))


@pytest.mark.claim("operation-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_operation_after(subject, evidence, probed, operation_questions, where):
    site = residual(where, subject)
    evidence.record(probed(by_phrasing(operation_questions, at="mean"), site, also=early(subject)))


def operands_of(subject, evidence, rng):
    """The first operands of products; the claims about them apply where numbers are tokens of their own."""
    reason = why_no_operands(subject)
    evidence.require(reason is None, reason or "numbers are one token each")
    return first_operands(subject, rng)


@pytest.mark.claim("operand-in-embeddings")
def test_operand(subject, evidence, probed, rng):
    operands = operands_of(subject, evidence, rng)
    evidence.record(probed(operands, Site("embed"), kind="regression"))


@pytest.mark.claim("operand-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_operand_after(subject, evidence, probed, rng, where):
    operands, site = operands_of(subject, evidence, rng), residual(where, subject)
    evidence.record(probed(operands, site, kind="regression", also=early(subject)))


@pytest.mark.claim("answer-not-in-embeddings")
def test_answer_absent(subject, untrained_models, activations, evidence, family_rng, ability):
    questions, families = answer_questions(family_rng, QUESTIONS)
    # In a model that gives no product anywhere, that the embeddings have none is no finding.
    answered = ability(question_exam(questions, at_once=True), "the products")
    texts = [question.text for question in questions]
    read = {}
    for name, number in (("product", beyond_operands), ("sum", lambda fact: fact.a + fact.b)):
        labels = np.array([float(number(question.fact)) for question in questions])
        labelled = ProbeDataset(texts, labels, families, at="mean")
        measurement = probe(
            subject,
            untrained_models,
            labelled,
            Site("embed"),
            kind="regression",
            store=activations,
            seed=evidence.seed,
        )
        read[name] = measurement
    evidence.record(answered.noted(absent(read["product"], read["sum"])))


@pytest.mark.claim("answer-after-layers")
@pytest.mark.parametrize("where", LATER)
def test_answer(subject, evidence, probed, family_rng, where, ability):
    questions, families = answer_questions(family_rng, QUESTIONS)
    answered = ability(question_exam(questions, at_once=True), "the products")
    answers = np.array([float(questions[row].fact.answer) for row in answered.rows])
    labelled = ProbeDataset(answered.prompts, answers, families[answered.rows])
    later = [residual(other, subject) for other in LATER]
    measured = probed(labelled, residual(where, subject), kind="regression", also=later)
    evidence.record(answered.noted(measured))
