"""Does a state carry its answer into any question that it is injected into?

The published memory looked up states by the question; that any stored answer is produced was shown on four questions.
Here each question gets the state of another product; controls are random states, other positions and other products.
"""

import numpy as np
import pytest

from lazarus_probe.asking.exams import question_exam
from lazarus_probe.introspection.patching.injection import injection
from lazarus_probe.tasks import prompts


@pytest.mark.claim("injected-state-overrides-answer")
@pytest.mark.parametrize("phrasing", ["compact", "what_is"])
def test_injected(subject, evidence, rng, phrasing, ability):
    declared = evidence.claim.parameters
    count = declared["questions"]
    facts = prompts.sample_facts("multiply", 2 * count, rng, lambda fact: fact.a > 1 and fact.b > 1)
    pairs = [
        pair for pair in zip(facts[:count], facts[count:], strict=True) if pair[0].answer != pair[1].answer
    ]
    sources, targets = (
        [prompts.Question(pair[side].prompt(form), pair[side], form) for pair in pairs]
        for side, form in ((0, "compact"), (1, phrasing))
    )
    among = [question.family for question in (*sources, *targets)]
    answers = ability(question_exam(sources, at_once=True, among=among), "the sources")
    of_targets = question_exam(
        targets, at_once=True, among=among
    )  # with worked examples in their own phrasing
    rows, right = answers.rows, np.flatnonzero(answers.right)
    measurement = injection(
        subject,
        [answers.prompts[i] for i in right],
        [answers.written(targets[row].text, of_targets.shots_of(row)) for row in rows[right]],
        [sources[row].fact.answer for row in rows[right]],
        [str(sources[row].fact.family) for row in rows[right]],
        evidence.claim.layer_for(subject.name, subject.num_layers),
        evidence.seed,
        max_tokens=answers.max_tokens,
        known=evidence.known,
    )
    evidence.record(answers.noted(measurement))
