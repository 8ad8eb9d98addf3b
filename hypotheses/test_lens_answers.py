"""At which layer does the logit lens say the answer, and does it say what is asked?

The published tables read single prompts. Here they are all the products of two digits, or a sample of larger ones,
beside another prompt's answer, and untrained and lesioned models under the same lens.
"""

import numpy as np
import pytest

from lazarus_probe.introspection.generation.continuation import before_answers
from lazarus_probe.introspection.lens.crystallisation import crystallisation, not_yet
from lazarus_probe.introspection.vocabulary.alignment import spellings
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.relative_depth import layer_at
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC, Fact, is_answer

DIGITS = range(2, 10)


def digits(*operations):
    """Every fact of two digits, in the compact form."""
    facts = [Fact(operation, a, b) for operation in operations for a in DIGITS for b in DIGITS]
    return [prompts.Question(fact.prompt("compact"), fact, "compact") for fact in facts]


def targets(subject, asked):
    """The tokens before each answer, and the first token of the answer."""
    contexts, firsts = before_answers(subject, *prompts.texts_and_answers(asked))
    return contexts, [[token] for token in firsts]


def require_answers(subject, evidence, asked):
    """The claim is about answers that the model gives."""
    said = greedy(subject, [q.text for q in asked], 4)
    share = np.mean([is_answer(text, q.fact.answer) for text, q in zip(said, asked, strict=True)])
    needed = evidence.claim.parameters["answered"]
    evidence.require(
        share >= needed, f"answers {share:.2f} of the {len(asked)} questions; {needed:.2f} needed"
    )


def read(subject, models, store, evidence, asked, **options):
    """The lens on the questions' answers, where the claim says."""
    require_answers(subject, evidence, asked)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    families = [q.family for q in asked]
    return crystallisation(
        subject,
        models,
        *targets(subject, asked),
        families,
        layer,
        store=store,
        seed=evidence.seed,
        **options,
    )


@pytest.mark.claim("answer-crystallises-late")
def test_crystallises(subject, untrained_models, activations, evidence):
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    earlier = min(layer_at(evidence.claim.parameters["earlier"], subject.num_layers), layer - 1)
    evidence.require(
        earlier >= 0, f"L{layer} of {subject.num_layers} is where it is read; one before is needed"
    )
    asked = digits("multiply", "add")
    evidence.record(read(subject, untrained_models, activations, evidence, asked, before=earlier))


@pytest.mark.claim("facts-in-the-lens")
def test_among_five(subject, untrained_models, activations, evidence):
    evidence.record(read(subject, untrained_models, activations, evidence, digits("multiply"), top=5))


@pytest.mark.claim("facts-not-yet-on-top")
def test_not_yet(subject, evidence):
    asked = digits("multiply")
    require_answers(subject, evidence, asked)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    families = [q.family for q in asked]
    evidence.record(not_yet(subject, *targets(subject, asked), families, layer, seed=evidence.seed))


@pytest.mark.claim("answer-probable-before-the-end")
def test_probable(subject, untrained_models, activations, evidence, rng):
    facts = prompts.sample_facts("multiply", evidence.claim.parameters["questions"], rng)
    asked = [prompts.Question(fact.prompt(), fact, "spaced") for fact in facts]
    evidence.record(read(subject, untrained_models, activations, evidence, asked, score="probability"))


@pytest.mark.claim("lens-announces-operation")
@pytest.mark.parametrize("phrasing", SYMBOLIC)
def test_announces(subject, untrained_models, activations, evidence, rng, phrasing):
    words = {name: spellings(subject, name) for name in OPERATIONS}
    missing = [name for name, tokens in words.items() if not tokens]
    evidence.require(not missing, f"{4 - len(missing)} of 4 class words are single tokens; missing {missing}")
    asked = prompts.questions(rng, evidence.claim.parameters["per_operation"], [phrasing])
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    wanted = [words[q.fact.operation] for q in asked]
    texts, families = [q.text for q in asked], [q.family for q in asked]
    evidence.record(
        crystallisation(
            subject,
            untrained_models,
            texts,
            wanted,
            families,
            layer,
            score="probability",
            store=activations,
            seed=evidence.seed,
        )
    )
