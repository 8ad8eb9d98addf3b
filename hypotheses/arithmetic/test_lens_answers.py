"""At which layer does the logit lens show the answer, and is it the answer to this question?

The published tables read single prompts. Here the lens reads all products of two digits, or a sample of larger ones,
and is compared with another prompt's answer, and with untrained and lesioned models.
"""

import pytest

from lazarus_probe.asking.exams import in_form, question_exam
from lazarus_probe.introspection.generation.continuation import with_answers
from lazarus_probe.introspection.lens.lens_emergence import lens_emergence, not_yet
from lazarus_probe.subject.relative_depth import layer_at
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC, Fact

DIGITS = range(2, 10)


def digits(*operations):
    """Every fact of two digits, in the compact form and in the spaced one."""
    facts = [Fact(operation, a, b) for operation in operations for a in DIGITS for b in DIGITS]
    return [
        [prompts.Question(fact.prompt(form), fact, form) for fact in facts] for form in ("compact", "spaced")
    ]


def targets(subject, questions):
    """The tokens before each answer, and those of the answer: all of its digits, where each is a token."""
    contexts, answers = with_answers(subject, *prompts.texts_and_answers(questions))
    return contexts, [[answer] for answer in answers]


def answered(ability, wordings):
    """The claim applies if the model answers at once; the questions in the wording and form that it answers best."""
    exams = [question_exam(questions, at_once=True) for questions in wordings]
    answers = ability(exams, f"the {len(wordings[0])} questions")
    questions = wordings[exams.index(answers.exam)]
    return answers, in_form([questions[row] for row in answers.rows], answers.prompts)


def read(subject, models, store, evidence, ability, questions, **options):
    """The lens on the questions' answers, at the layer of the claim."""
    answers, questions = answered(ability, questions)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    families = [q.family for q in questions]
    measurement = lens_emergence(
        subject,
        models,
        *targets(subject, questions),
        families,
        layer,
        store=store,
        seed=evidence.seed,
        claim=evidence.settles,
        known=evidence.known,
        **options,
    )
    return answers.noted(measurement)


@pytest.mark.claim("answer-crystallises-late")
def test_crystallises(subject, untrained_models, activations, evidence, ability):
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    earlier = min(layer_at(evidence.claim.parameters["earlier"], subject.num_layers), layer - 1)
    evidence.require(
        earlier >= 0, f"L{layer} of {subject.num_layers} is where it is read; one before is needed"
    )
    questions = digits("multiply", "add")
    evidence.record(
        read(subject, untrained_models, activations, evidence, ability, questions, before=earlier)
    )


@pytest.mark.claim("facts-in-the-lens")
def test_among_five(subject, untrained_models, activations, evidence, ability):
    products = digits("multiply")
    evidence.record(read(subject, untrained_models, activations, evidence, ability, products, top=5))


@pytest.mark.claim("facts-not-yet-on-top")
def test_not_yet(subject, activations, evidence, ability):
    answers, questions = answered(ability, digits("multiply"))
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    families = [q.family for q in questions]
    measurement = not_yet(
        subject, *targets(subject, questions), families, layer, store=activations, seed=evidence.seed
    )
    evidence.record(answers.noted(measurement))


@pytest.mark.claim("answer-probable-before-the-end")
def test_probable(subject, untrained_models, activations, evidence, rng, ability):
    facts = prompts.sample_facts("multiply", evidence.claim.parameters["questions"], rng)
    questions = [prompts.Question(fact.prompt(), fact, "spaced") for fact in facts]
    store, models = activations, untrained_models
    evidence.record(read(subject, models, store, evidence, ability, [questions], score="probability"))


@pytest.mark.claim("lens-announces-operation")
@pytest.mark.parametrize("phrasing", SYMBOLIC)
def test_announces(subject, untrained_models, activations, evidence, rng, phrasing):
    words = {name: spellings(subject, name) for name in OPERATIONS}
    missing = [name for name, tokens in words.items() if not tokens]
    evidence.require(not missing, f"{4 - len(missing)} of 4 class words are single tokens; missing {missing}")
    questions = prompts.questions(rng, evidence.claim.parameters["per_operation"], [phrasing])
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    wanted = [words[q.fact.operation] for q in questions]
    texts, families = [q.text for q in questions], [q.family for q in questions]
    evidence.record(
        lens_emergence(
            subject,
            untrained_models,
            texts,
            wanted,
            families,
            layer,
            score="probability",
            store=activations,
            seed=evidence.seed,
            claim=evidence.settles,
            known=evidence.known,
        )
    )
