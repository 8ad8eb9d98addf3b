"""Is there a layer that hard products need and easy ones do not?

The published result came from one prompt of each kind; the output that counted as broken, `2,209`, is 47*47 with a
thousands separator. Here answers are parsed, there are 60 products of each kind, and the layer is selected on one half
of them and tested on the other.
"""

import pytest

from lazarus_probe.asking.exams import question_exam
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.differential import differential_ablation, grade
from lazarus_probe.tasks import prompts

METHODS = (AblationType.MEAN, AblationType.RESAMPLE, AblationType.ZERO)


@pytest.mark.claim("difficulty-gate")
@pytest.mark.parametrize("method", METHODS)
def test_gate(subject, evidence, rng, method, ability):
    declared = evidence.claim.parameters
    facts = {kind: prompts.products(kind, declared["per_difficulty"], rng) for kind in prompts.DIFFICULTIES}
    drawn = [fact for of_kind in facts.values() for fact in of_kind]
    kinds = [kind for kind in facts for _ in facts[kind]]
    exam = question_exam([prompts.Question(fact.prompt(), fact, "spaced") for fact in drawn], classes=kinds)
    answers = ability(exam, "the products of each kind")
    graded = grade(
        subject,
        answers.prompts,
        [drawn[row].answer for row in answers.rows],
        [kinds[row] for row in answers.rows],
        [str(drawn[row].family) for row in answers.rows],
        evidence.seed,
        answers.max_tokens,
    )
    measurement = differential_ablation(
        subject, graded, "prime", "trivial", "factorisable", method=method, seed=evidence.seed
    )
    evidence.record(answers.noted(measurement))
