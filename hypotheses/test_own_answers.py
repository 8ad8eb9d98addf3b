"""Does the model give the answer, when does the answer emerge, and does the model know when it is wrong?

The probe's data has equally many right and wrong answers, and a bag of tokens is the control for the difficulty of the
questions; published centroids were tested on the prompts that they were computed from.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.emergence import emergence
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.statistics.measurement import some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import VERBAL, is_answer


def products(evidence, rng):
    """Products in the spaced form."""
    facts = prompts.sample_facts("multiply", evidence.claim.parameters["questions"], rng)
    return [fact.prompt() for fact in facts], [fact.answer for fact in facts], [str(f.family) for f in facts]


def right(completions, answers):
    """Whether each completion gives its answer."""
    return np.array([is_answer(text, answer) for text, answer in zip(completions, answers, strict=True)])


@pytest.mark.claim("products-answered")
def test_answered(subject, untrained_models, evidence, rng):
    texts, answers, families = products(evidence, rng)
    completions = greedy(subject, texts, 4)
    score = right(completions, answers)
    controls = {
        "untrained": [right(greedy(model.build(), texts, 4), answers) for model in untrained_models],
        "other_answer": right(completions, np.roll(answers, 1).tolist()),
    }
    shown = some_examples(texts, answers, completions, score)
    tokens = sum(len(subject.encode(text)) for text in texts)
    evidence.record(
        rate("accuracy", score, families, controls, seed=evidence.seed, tokens=tokens, examples=shown)
    )


@pytest.mark.claim("product-emerges")
def test_emerges(subject, untrained_models, activations, evidence, rng):
    texts, answers, families = products(evidence, rng)
    claim = evidence.claim
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
    evidence.record(measurement)


@pytest.mark.claim("error-readable-before-answer")
def test_error(subject, untrained_models, activations, evidence, rng):
    declared = evidence.claim.parameters
    questions = prompts.questions(rng, declared["per_cell"], VERBAL)
    hits = right(greedy(subject, [q.text for q in questions], 4), [q.fact.answer for q in questions])
    sides = [np.flatnonzero(hits), np.flatnonzero(~hits)]
    needed = declared["kept"]
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
    evidence.record(probe(subject, untrained_models, labelled, site, store=activations, seed=evidence.seed))
