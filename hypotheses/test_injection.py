"""Does a state carry an answer into whatever question it is put in?

The published memory looked states up by the question; that any stored answer comes out was shown on four questions.
Here each question gets the state of another product; random states, places and other products stand beside.
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
    said = greedy(subject, [source.prompt("compact") for source, _ in pairs], 4)
    known = np.array([is_answer(text, pair[0].answer) for text, pair in zip(said, pairs, strict=True)])
    evidence.require(
        known.mean() >= needed, f"answers {known.mean():.2f} of the sources; {needed:.2f} needed"
    )
    kept = [pairs[i] for i in np.flatnonzero(known)]
    evidence.record(
        injection(
            subject,
            [source.prompt("compact") for source, _ in kept],
            [target.prompt(phrasing) for _, target in kept],
            [source.answer for source, _ in kept],
            [str(source.family) for source, _ in kept],
            evidence.claim.layer_for(subject.name, subject.num_layers),
            evidence.seed,
        )
    )
