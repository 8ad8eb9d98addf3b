"""The same questions as a user asks them: through the model's own chat template.

The last position is then where the assistant begins to speak, whatever the question; nothing of it is read off the
token that stands there.
"""

from dataclasses import replace

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.vocabulary.alignment import spellings, vocabulary_alignment
from lazarus_probe.introspection.vocabulary.positive_controls import capitals
from lazarus_probe.subject.chat import has_chat_template, in_chat
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC


def chatting(subject, evidence):
    """The claim applies to models that are asked in a chat."""
    has = has_chat_template(subject)
    evidence.require(has, f"its tokenizer has {'a' if has else 'no'} chat template")


@pytest.mark.claim("chat-form-readable-early")
def test_form(subject, untrained_models, activations, evidence, rng):
    chatting(subject, evidence)
    asked = prompts.questions(rng, evidence.claim.parameters["per_cell"])
    labelled = ProbeDataset(
        [in_chat(subject, question.text) for question in asked],
        ["symbols" if question.phrasing in SYMBOLIC else "words" for question in asked],
        groups=[f"{question.phrasing} {question.fact.operation}" for question in asked],
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
    asked = prompts.questions(rng, declared["per_operation"], phrasings=["spaced"])
    asked = [replace(question, text=in_chat(subject, question.text)) for question in asked]
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(
        vocabulary_alignment(
            subject,
            asked,
            words,
            layer,
            capitals(subject, chat=True),
            strength=declared["word_strength"],
            seed=evidence.seed,
        )
    )
