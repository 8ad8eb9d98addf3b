"""Does the base model name the operation at 55% of its depth, read through the logit lens?

An absence is only as strong as the instrument: the same lens at the same layer must detect the word once it is
injected, and at the last layer the capitals of countries. Every spelling of the class word counts (`add`, ` add`,
`Add`, ` Add`).
"""

import pytest

from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment
from lazarus_probe.introspection.vocabulary.positive_controls import capitals
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC


@pytest.mark.claim("no-vocabulary-alignment")
@pytest.mark.parametrize("phrasing", SYMBOLIC)
def test_no_class_word(subject, evidence, rng, phrasing):
    declared = evidence.claim.parameters
    words = {name: spellings(subject, name) for name in OPERATIONS}
    missing = [name for name, tokens in words.items() if not tokens]
    evidence.require(
        not missing, f"{len(words) - len(missing)} of 4 class words are single tokens; {missing} are not"
    )
    questions = prompts.questions(rng, declared["per_operation"], phrasings=[phrasing])
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(
        vocabulary_alignment(
            subject,
            questions,
            words,
            layer,
            capitals(subject),
            strength=declared["word_strength"],
            seed=evidence.seed,
        )
    )
