"""Does the model hold a classifier of the operation in its hidden space, layer by layer?

The published probe used 16 prompts in one format, where the operator is a token of the prompt: a bag of tokens and an
untrained model decode it too. So it is tested twice: as published, and on held-out phrasings.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.inputs import by_phrasing
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.tasks import prompts


def in_one_phrasing(rng):
    """The four operations on the same operands, by operation; an operand family is never split."""
    questions = prompts.matched_questions(rng, families=40)
    labels = np.array([question.fact.operation for question in questions])
    families = np.array([question.family for question in questions])
    return ProbeDataset([question.text for question in questions], labels, families)


@pytest.mark.claim("operation-in-hidden-space")
def test_same_phrasing(evidence, probed, rng, layer):
    evidence.record(probed(in_one_phrasing(rng), resid_post(layer)))


@pytest.mark.claim("operation-across-phrasings")
def test_unmet_phrasing(evidence, probed, operation_questions, layer):
    evidence.record(probed(by_phrasing(operation_questions), resid_post(layer)))
