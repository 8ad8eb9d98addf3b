"""The same questions in the model's own chat template, as a user asks them.

The last position is then the start of the assistant's turn for every question, so its token carries no information.
Of the signs and the words of reckoning none recurs, and the sentences around them are the same, so that a bag of tokens
does not tell a held-out question in symbols from one in words.
"""

from dataclasses import replace

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment
from lazarus_probe.introspection.vocabulary.positive_controls import capitals
from lazarus_probe.subject.chat import has_chat_template, in_chat
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.tasks.notations import notations


def chatting(subject, evidence):
    """The claim applies to models with a chat template."""
    has = has_chat_template(subject)
    evidence.require(has, f"its tokenizer has {'a' if has else 'no'} chat template")


def forms(subject):
    """Questions in symbols or in words, in the chat template; each expression is a group."""
    questions = list(notations())
    return ProbeDataset(
        [in_chat(subject, question.prompt) for question in questions],
        [question.task for question in questions],
        groups=[question.subject for question in questions],
    )


@pytest.mark.claim("chat-form-readable-early")
def test_form(subject, evidence, probed):
    chatting(subject, evidence)
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(probed(forms(subject), site))


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
