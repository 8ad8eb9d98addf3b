"""Does the state at one place of `7*8=` carry its answer, or its operation, into `7+8=`?

Patching the last position after the last layer replaces the output itself and always transfers; so the layer is fixed
beforehand at the published relative depth. The report keeps the whole table of layers and positions.
"""

import numpy as np
import pytest

from lazarus_probe.introspection.patching import Pair, transfer
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import is_answer


def answered_pairs(subject, evidence, rng):
    """`a*b=` into `a+b=` where the model answers both, and their operand families.

    A tokenizer may join characters differently in the two; pairs are kept if all their prompts have one length.
    """
    declared = evidence.claim.parameters
    digits = prompts.digit_pairs(rng, declared["pairs"])
    pairs = [Pair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    lengths = np.array([[len(subject.encode(text)) for text in (pair.source, pair.target)] for pair in pairs])
    products, sums = (
        greedy(subject, [getattr(pair, side) for pair in pairs], 4) for side in ("source", "target")
    )
    known = (lengths == np.median(lengths)).all(axis=1) & [
        is_answer(product, pair.source_answer) and is_answer(total, pair.target_answer)
        for product, total, pair in zip(products, sums, pairs, strict=True)
    ]
    evidence.require(
        known.mean() >= declared["answered"],
        f"answers both sides of {known.mean():.2f} of the pairs; {declared['answered']:.2f} needed",
    )
    kept = np.flatnonzero(known)
    return [pairs[i] for i in kept], [str(sorted(digits[i])) for i in kept]


@pytest.mark.claim("patching-transfers-answer")
def test_answer_at_last_position(subject, evidence, rng):
    pairs, families = answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    last = len(subject.encode(pairs[0].target)) - 1
    evidence.record(transfer(subject, pairs, layer, last, families, evidence.seed))


@pytest.mark.claim("patching-transfers-operation")
def test_operation_at_its_token(subject, evidence, rng):
    pairs, families = answered_pairs(subject, evidence, rng)
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    operator = len(subject.encode(pairs[0].target.split("+")[0] + "+")) - 1
    evidence.record(transfer(subject, pairs, layer, operator, families, evidence.seed))
