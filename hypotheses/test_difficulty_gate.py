"""Is there a layer that hard products need and easy ones do not?

The published result came from one prompt of each kind; the output that counted as broken, `2,209`, is 47*47 with a
thousands separator. Here answers are parsed, there are 60 products of each kind, and the layer is selected on one half
of them and tested on the other.
"""

import pytest

from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.differential import differential_ablation, grade
from lazarus_probe.tasks import prompts

METHODS = (AblationType.MEAN, AblationType.RESAMPLE, AblationType.ZERO)


@pytest.mark.claim("difficulty-gate")
@pytest.mark.parametrize("method", METHODS)
def test_gate(subject, evidence, rng, method):
    declared = evidence.claim.parameters
    facts = {kind: prompts.products(kind, declared["per_difficulty"], rng) for kind in prompts.DIFFICULTIES}
    graded = grade(
        subject,
        [fact.prompt() for kind in facts for fact in facts[kind]],
        [fact.answer for kind in facts for fact in facts[kind]],
        [kind for kind in facts for _ in facts[kind]],
        [str(fact.family) for kind in facts for fact in facts[kind]],
        evidence.seed,
    )
    for kind in facts:
        share = graded.share(kind)
        evidence.require(
            share >= declared["answered"],
            f"answers {share:.2f} of the {kind} products; {declared['answered']:.2f} needed",
        )
    evidence.record(
        differential_ablation(
            subject, graded, "prime", "trivial", "factorisable", method=method, seed=evidence.seed
        )
    )
