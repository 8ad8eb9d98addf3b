"""The same questions in the model's own chat template, as a user asks them.

The last position is then the start of the assistant's turn for every question, so its token carries no information.
"""

from dataclasses import replace

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment
from lazarus_probe.introspection.vocabulary.positive_controls import capitals
from lazarus_probe.subject.chat import has_chat_template, in_chat
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC


def chatting(subject, evidence):
    """The claim applies to models with a chat template."""
    has = has_chat_template(subject)
    evidence.require(has, f"its tokenizer has {'a' if has else 'no'} chat template")


@pytest.mark.claim("chat-form-readable-early")
def test_form(subject, untrained_models, activations, evidence, rng):
    chatting(subject, evidence)
    questions = prompts.questions(rng, evidence.claim.parameters["per_cell"])
    labelled = ProbeDataset(
        [in_chat(subject, question.text) for question in questions],
        ["symbols" if question.phrasing in SYMBOLIC else "words" for question in questions],
        groups=[f"{question.phrasing} {question.fact.operation}" for question in questions],
    )
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(probe(subject, untrained_models, labelled, site, store=activations, seed=evidence.seed))


@pytest.mark.claim("chat-no-vocabulary-alignment")
def test_no_class_word(subject, evidence, rng):
    chatting(subject, evidence)
    words = {name: spellings(subject, name) for name in OPERATIONS}
    missing = [name for name, tokens in words.items() if not tokens]
    evidence.require(not missing, f"{len(words) - len(missing)} of 4 class words are single tokens")
    declared = evidence.claim.parameters
    questions = prompts.questions(rng, declared["per_operation"], phrasings=["spaced"])
    questions = [replace(question, text=in_chat(subject, question.text)) for question in questions]
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(
        vocabulary_alignment(
            subject,
            questions,
            words,
            layer,
            capitals(subject, chat=True),
            strength=declared["word_strength"],
            seed=evidence.seed,
        )
    )
