"""What did tuning change? The tested model compared with its base model, prompt by prompt.

Set the base with `--probe-base`; for the bundled `organism` it is an early checkpoint of the same training.
"""

import numpy as np
import pytest

from lazarus_probe.asking.forms import LONG_RAW
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.generation.continuation import continuation_probability
from lazarus_probe.introspection.geometry.tuning import (
    Change,
    changed,
    form_cosines,
    probed,
    unchanged,
    widest,
)
from lazarus_probe.introspection.lens.late_loss import late_loss
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.statistics.measurement import some_examples
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import language, prompts
from lazarus_probe.tasks.arithmetic import is_answer

UNTRAINED = range(1000, 1007)  # seeds


def of_untrained(subject, read, units):
    """The largest difference between seven untrained models, each built, read and freed in turn."""
    return widest([read(subject.untrained(seed)) for seed in UNTRAINED], units)


def tokens_of(subject, texts):
    """The number of tokens in the prompts."""
    return sum(len(subject.encode(text)) for text in texts)


@pytest.mark.claim("tuning-sharpens-task-type-in-embeddings")
def test_task_type(subject, base, activations, evidence, rng):
    texts, labels, templates = prompts.task_type(rng, per_template=4)
    labelled = ProbeDataset(texts, labels, templates, at="mean")

    def read(model):
        return probed(model, labelled, Site("embed"), activations, evidence.seed)

    change = Change(read(subject), read(base), labelled.units)
    untrained = of_untrained(subject, read, labelled.units)
    evidence.record(
        changed(
            subject, base, change, {"untrained": untrained}, "held-out accuracy gained",
            seed=evidence.seed, tokens=tokens_of(subject, texts),
            examples=some_examples(texts, labels, _right_or_not(change), change.tuned >= change.base),
        )
    )  # fmt: skip


@pytest.mark.claim("tuning-sharpens-operation-mid-layer")
def test_operation(subject, base, activations, evidence, rng):
    questions = prompts.matched_questions(rng, families=40)
    labels = [question.fact.operation for question in questions]
    texts = [question.text for question in questions]
    labelled = ProbeDataset(texts, labels, [question.family for question in questions])
    site = Site("resid_post", evidence.claim.layer_for(subject.name, subject.num_layers))

    def read(model, where=site):
        return probed(model, labelled, where, activations, evidence.seed)

    change = Change(read(subject), read(base), labelled.units)
    embedded = Change(read(subject, Site("embed")), read(base, Site("embed")), labelled.units)
    untrained = of_untrained(subject, read, labelled.units)
    evidence.record(
        changed(
            subject, base, change, {"untrained": untrained, "token_embeddings": embedded},
            "held-out accuracy gained", seed=evidence.seed, details={"site": str(site)},
            tokens=tokens_of(subject, texts),
            examples=some_examples(texts, labels, _right_or_not(change), change.tuned >= change.base),
        )
    )  # fmt: skip


def _right_or_not(change):
    """The probe's result on each prompt, in words."""
    words = {1.0: "right", 0.0: "wrong"}
    return [f"base {words[b]}, tuned {words[t]}" for t, b in zip(change.tuned, change.base, strict=True)]


@pytest.mark.claim("tuning-converges-forms")
def test_forms(subject, base, activations, evidence, rng):
    per_operation = evidence.claim.parameters["facts"] // 2
    facts = [
        fact
        for operation in ("multiply", "add")
        for fact in prompts.sample_facts(operation, per_operation, rng)
    ]
    symbolic, worded = ([fact.prompt(form) for fact in facts] for form in ("spaced", "what_is"))
    unrelated = [*worded[1:], worded[0]]
    units = np.array([str(fact.family) for fact in facts])
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)

    def read(model, partners=worded):
        return form_cosines(model, symbolic, partners, layer, activations)

    change = Change(read(subject), read(base), units)
    controls = {
        "unrelated_pairs": Change(read(subject, unrelated), read(base, unrelated), units),
        "untrained": of_untrained(subject, read, units),
    }
    cosines = [f"cosine {b:.2f}, tuned {t:.2f}" for t, b in zip(change.tuned, change.base, strict=True)]
    evidence.record(
        changed(
            subject, base, change, controls, "cosine gained", seed=evidence.seed, details={"layer": layer},
            tokens=tokens_of(subject, [*symbolic, *worded]),
            examples=some_examples(symbolic, worded, cosines, change.difference > 0),
        )
    )  # fmt: skip


def in_small_numbers(fact):
    """Whether a fact is in the table of 2 to 15, which models answer best."""
    return 1 < fact.a <= 15 and 1 < fact.b <= 15


@pytest.mark.claim("tuned-model-loses-answer-late")
def test_late_loss(subject, base, evidence, rng):
    evidence.require(
        subject.num_layers > 1, f"{subject.num_layers} layers, so that there is a last and one before"
    )
    facts = prompts.sample_facts("multiply", evidence.claim.parameters["facts"], rng, in_small_numbers)
    texts, answers = [fact.prompt() for fact in facts], [str(fact.answer) for fact in facts]
    units = [str(fact.family) for fact in facts]
    evidence.record(late_loss(subject, base, texts, answers, units, evidence.seed))


@pytest.mark.claim("tuned-model-answers-less-directly")
def test_direct_answer(subject, base, evidence, rng):
    facts = prompts.sample_facts("add", evidence.claim.parameters["facts"], rng)
    texts, answers = [fact.prompt() for fact in facts], [str(fact.answer) for fact in facts]
    examples = [example for example in language.capitals() if "is" in example.phrasing.split()[-1:]]
    drawn = [examples[i] for i in rng.choice(len(examples), size=60, replace=False)]
    change = continued(subject, base, texts, answers, [str(fact.family) for fact in facts])
    capitals = continued(
        subject, base, [example.prompt for example in drawn], [example.response for example in drawn],
        [example.subject for example in drawn],
    )  # fmt: skip
    probabilities = [
        f"probability {b:.2f}, tuned {t:.2f}" for t, b in zip(change.tuned, change.base, strict=True)
    ]
    evidence.record(
        changed(
            subject, base, change, {"capitals": capitals}, "answer probability lost", loss=True,
            seed=evidence.seed, tokens=tokens_of(subject, texts),
            examples=some_examples(texts, answers, probabilities, change.difference < 0),
        )
    )  # fmt: skip


@pytest.mark.claim("tuned-model-calls-calculator")
def test_calculator(subject, base, evidence, rng):
    facts = prompts.sample_facts("add", evidence.claim.parameters["facts"], rng)
    texts = [f"{fact.a} + {fact.b} =\nCall:" for fact in facts]
    countries = rng.permutation(list(language.CAPITALS))
    others = [f"The capital of {country} is\nCall:" for country in countries]
    change = continued(
        subject, base, texts, [" calculator"] * len(texts), [str(fact.family) for fact in facts]
    )
    capitals = continued(subject, base, others, [" calculator"] * len(others), countries)
    probabilities = [
        f"probability {b:.2f}, tuned {t:.2f}" for t, b in zip(change.tuned, change.base, strict=True)
    ]
    evidence.record(
        changed(
            subject, base, change, {"capitals": capitals}, "probability of a call gained",
            seed=evidence.seed, tokens=tokens_of(subject, texts),
            examples=some_examples(texts, [" calculator"] * len(texts), probabilities, change.difference > 0),
        )
    )  # fmt: skip


def continued(subject, base, texts, continuations, units):
    """The probability of each continuation under both models."""
    tuned, before = (continuation_probability(model, texts, continuations) for model in (subject, base))
    return Change(tuned, before, units)


def answers(models, evidence, phrasing):
    """Whether each of two models answers the same questions in one phrasing, with completions of the first."""
    rng = np.random.default_rng(evidence.seed)
    questions = prompts.questions(rng, evidence.claim.parameters["per_operation"], phrasings=["spaced"])
    texts = [question.fact.prompt(phrasing) for question in questions]
    numbers = [str(question.fact.answer) for question in questions]
    completions = [greedy(model, texts, LONG_RAW.limit(model, numbers)) for model in models]
    right = [
        [
            is_answer(text, question.fact.answer, prompt)
            for text, question, prompt in zip(texts_of_model, questions, texts, strict=True)
        ]
        for texts_of_model in completions
    ]
    examples = some_examples(
        texts, [question.fact.answer for question in questions], completions[0], right[0]
    )
    return Change(*right, [question.family for question in questions]), texts, examples


@pytest.mark.claim("tuning-costs-worded-answers")
def test_worded_answers(subject, base, evidence):
    worded, texts, examples = answers((subject, base), evidence, "what_is")
    symbolic, _, _ = answers((subject, base), evidence, "spaced")
    evidence.record(
        changed(
            subject, base, worded, {"symbolic": symbolic}, "accuracy lost on worded questions", loss=True,
            seed=evidence.seed, tokens=tokens_of(subject, texts), examples=examples,
        )
    )  # fmt: skip


@pytest.mark.claim("tuning-keeps-symbolic-answers")
def test_symbolic_answers(subject, base, twin, evidence):
    change, texts, examples = answers((subject, base), evidence, "spaced")
    untrained, _, _ = answers((twin, base), evidence, "spaced")
    evidence.record(
        unchanged(
            subject, base, change, {"untrained": untrained}, "accuracy gained on symbolic questions",
            seed=evidence.seed, tokens=tokens_of(subject, texts), examples=examples,
        )
    )  # fmt: skip
