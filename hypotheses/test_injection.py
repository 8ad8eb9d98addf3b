"""Does a state carry its answer into any question that it is injected into?

The published memory looked up states by the question; that any stored answer is produced was shown on four questions.
Here each question gets the state of another product; controls are random states, other positions and other products.
"""

import numpy as np
import pytest

from lazarus_probe.introspection.patching.injection import injection
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import is_answer


@pytest.mark.claim("injected-state-overrides-answer")
@pytest.mark.parametrize("phrasing", ["compact", "what_is"])
def test_injected(subject, evidence, rng, phrasing):
    declared = evidence.claim.parameters
    count, needed = declared["questions"], declared["answered"]
    facts = prompts.sample_facts("multiply", 2 * count, rng, lambda fact: fact.a > 1 and fact.b > 1)
    pairs = [
        pair for pair in zip(facts[:count], facts[count:], strict=True) if pair[0].answer != pair[1].answer
    ]
    completions = greedy(subject, [source.prompt("compact") for source, _ in pairs], 4)
    answered = np.array(
        [is_answer(text, pair[0].answer) for text, pair in zip(completions, pairs, strict=True)]
    )
    evidence.require(
        answered.mean() >= needed, f"answers {answered.mean():.2f} of the sources; {needed:.2f} needed"
    )
    answered_pairs = [pairs[i] for i in np.flatnonzero(answered)]
    evidence.record(
        injection(
            subject,
            [source.prompt("compact") for source, _ in answered_pairs],
            [target.prompt(phrasing) for _, target in answered_pairs],
            [source.answer for source, _ in answered_pairs],
            [str(source.family) for source, _ in answered_pairs],
            evidence.claim.layer_for(subject.name, subject.num_layers),
            evidence.seed,
        )
    )
