"""What is readable from the embeddings, and what only after layers.

The published test read the last token, which is `=` in every arithmetic prompt and never in a language prompt. Here
whole prompts are read (the mean over positions), or the token that is asked about, and a probe is tested on
templates, phrasings or numbers that it has not met.
"""

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.inputs import by_phrasing
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.studies.embedding import answer_questions, first_operands
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import ALL_PHRASINGS

EARLY = ("L0", "L1", "L2")
LATER = ("L0", "L1", "L2", "half", "last")
QUESTIONS = 500


def residual(where, subject):
    """The residual stream after a layer; a shallow model is read at its last layer at most."""
    last = subject.num_layers - 1
    named = {"half": subject.num_layers // 2, "last": last}
    return Site("resid_post", named[where] if where in named else min(last, int(where[1:])))


def task_types(rng):
    """Arithmetic or language; a split keeps each template together."""
    texts, labels, templates = prompts.task_type(rng, per_template=4)
    return ProbeDataset(texts, np.array(labels), np.array(templates), at="mean")


def operations(rng):
    """Which operation; the probe is tested on a phrasing it has not met."""
    return by_phrasing(prompts.questions(rng, per_cell=2, phrasings=tuple(ALL_PHRASINGS)), at="mean")


@pytest.mark.claim("task-type-in-embeddings")
def test_task_type(subject, untrained_models, activations, evidence, family_rng):
    evidence.record(
        probe(
            subject,
            untrained_models,
            task_types(family_rng),
            Site("embed"),
            store=activations,
            seed=evidence.seed,
        )
    )


@pytest.mark.claim("task-type-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_task_type_after(subject, untrained_models, activations, evidence, family_rng, where):
    site = residual(where, subject)
    evidence.record(
        probe(subject, untrained_models, task_types(family_rng), site, store=activations, seed=evidence.seed)
    )


@pytest.mark.claim("operation-in-embeddings")
def test_operation(subject, untrained_models, activations, evidence, family_rng):
    evidence.record(
        probe(
            subject,
            untrained_models,
            operations(family_rng),
            Site("embed"),
            store=activations,
            seed=evidence.seed,
        )
    )


@pytest.mark.claim("operation-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_operation_after(subject, untrained_models, activations, evidence, family_rng, where):
    site = residual(where, subject)
    evidence.record(
        probe(subject, untrained_models, operations(family_rng), site, store=activations, seed=evidence.seed)
    )


@pytest.mark.claim("operand-in-embeddings")
def test_operand(subject, untrained_models, activations, evidence, rng):
    asked = first_operands(subject, rng)
    found = probe(
        subject,
        untrained_models,
        asked,
        Site("embed"),
        kind="regression",
        store=activations,
        seed=evidence.seed,
    )
    evidence.record(found)


@pytest.mark.claim("operand-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_operand_after(subject, untrained_models, activations, evidence, rng, where):
    asked, site = first_operands(subject, rng), residual(where, subject)
    evidence.record(
        probe(
            subject, untrained_models, asked, site, kind="regression", store=activations, seed=evidence.seed
        )
    )


@pytest.mark.claim("answer-not-in-embeddings")
def test_answer_absent(subject, untrained_models, activations, evidence, family_rng):
    asked, families = answer_questions(family_rng, QUESTIONS)
    texts = [question.text for question in asked]
    read = {}
    for name, number in (("product", lambda fact: fact.answer), ("sum", lambda fact: fact.a + fact.b)):
        labels = np.array([float(number(question.fact)) for question in asked])
        labelled = ProbeDataset(texts, labels, families, at="mean")
        found = probe(
            subject,
            untrained_models,
            labelled,
            Site("embed"),
            kind="regression",
            store=activations,
            seed=evidence.seed,
        )
        read[name] = found
    score, known = read["product"], read["sum"]
    gain = Control(
        "operand_sum", known.score, known.score - score.score, known.low - score.high, known.high - score.low
    )
    evidence.record(replace(score, controls=(gain,), p=None))


@pytest.mark.claim("answer-after-layers")
@pytest.mark.parametrize("where", LATER)
def test_answer(subject, untrained_models, activations, evidence, family_rng, where):
    asked, families = answer_questions(family_rng, QUESTIONS)
    answers = np.array([float(question.fact.answer) for question in asked])
    labelled = ProbeDataset([question.text for question in asked], answers, families)
    site = residual(where, subject)
    evidence.record(
        probe(
            subject,
            untrained_models,
            labelled,
            site,
            kind="regression",
            store=activations,
            seed=evidence.seed,
        )
    )
