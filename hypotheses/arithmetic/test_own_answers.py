"""Does the model give the answer, when does the answer emerge, and does the model know when it is wrong?

The probe's data has equally many right and wrong answers, and a bag of tokens is the control for the difficulty of the
questions; published centroids were tested on the prompts that they were computed from.
"""

import numpy as np
import pytest

from lazarus_probe.asking.exams import in_form, question_exam
from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.emergence import emergence
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.statistics.measurement import some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import VERBAL


def products(evidence, rng):
    """Products in the spaced form."""
    facts = prompts.sample_facts("multiply", evidence.claim.parameters["questions"], rng)
    return [prompts.Question(fact.prompt(), fact, "spaced") for fact in facts]


def of_all_magnitudes(evidence, rng):
    """Products of small and large numbers, which are less of a sum of their operands."""
    facts = prompts.spread_products(evidence.claim.parameters["questions"], rng)
    return [prompts.Question(fact.prompt(), fact, "spaced") for fact in facts]


@pytest.mark.claim("products-answered")
def test_answered(subject, untrained_models, evidence, rng, ability):
    exam = question_exam(products(evidence, rng))
    answers = ability(exam, "the products", needed=0)
    texts, rows, score = answers.prompts, answers.rows, answers.right
    others = np.roll(rows, 1)

    def marked(completions, of=rows):
        return np.array([exam.is_right(row, text) for row, text in zip(of, completions, strict=True)])

    def untrained():
        return [
            marked(greedy(model.build(), texts, answers.max_tokens, answers.form.stops))
            for model in untrained_models
        ]

    families = [exam.families[row] for row in rows]
    kept = {
        "seed": evidence.seed,
        "tokens": sum(len(subject.encode(text)) for text in texts),
        "examples": some_examples(texts, [exam.answers[row] for row in rows], answers.completions, score),
    }

    def measure(controls, left_out):
        return rate("accuracy", score, families, controls, unmeasured=left_out, **kept)

    controls = {"other_answer": marked(answers.completions, others)}
    measurement = as_needed(evidence.settles, measure, {"untrained": untrained}, controls)
    evidence.record(answers.noted(measurement))


@pytest.mark.claim("product-emerges")
def test_emerges(subject, untrained_models, activations, evidence, rng, ability):
    questions, claim = of_all_magnitudes(evidence, rng), evidence.claim
    model_answers = ability(question_exam(questions, at_once=True), "the products")
    texts, rows = model_answers.prompts, model_answers.rows
    answers, families = (
        [questions[row].fact.answer for row in rows],
        [questions[row].family for row in rows],
    )
    measurement = emergence(
        subject,
        untrained_models,
        ProbeDataset(texts, np.array(answers, float), np.array(families)),
        threshold=claim.threshold,
        margin=claim.margin,
        alpha=claim.alpha,
        kind="regression",
        store=activations,
        seed=evidence.seed,
    )
    evidence.record(model_answers.noted(measurement))


@pytest.mark.claim("error-readable-before-answer")
def test_error(subject, evidence, probed, rng, ability):
    declared = evidence.claim.parameters
    questions, needed = prompts.questions(rng, declared["per_cell"], VERBAL), declared["kept"]
    answers = ability(question_exam(questions), "the questions", needed / len(questions))
    questions = in_form([questions[row] for row in answers.rows], answers.prompts)
    hits = answers.right
    sides = [np.flatnonzero(hits), np.flatnonzero(~hits)]
    evidence.require(
        min(map(len, sides)) >= needed,
        f"answers {len(sides[0])} of {len(questions)} questions; {needed} right and {needed} wrong needed",
    )
    rows = np.concatenate([rng.choice(side, size=needed, replace=False) for side in sides])
    balanced = [questions[row] for row in rows]
    labelled = ProbeDataset(
        [question.text for question in balanced],
        np.where(hits[rows], "right", "wrong"),
        groups=np.array([question.family for question in balanced]),
    )
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(answers.noted(probed(labelled, site)))
