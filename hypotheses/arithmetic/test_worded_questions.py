"""Where is the operation of a verbal question decodable, and is it lost again?

The published probe was tested on its training prompts, or on four of 16. Here it is tested on held-out phrasings, and
intervals are clustered by phrasing and operand family.
"""

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.inputs import by_phrasing
from lazarus_probe.introspection.probing.signal_loss import signal_loss


@pytest.mark.claim("operation-in-words")
def test_early(subject, evidence, probed, operation_questions):
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(probed(by_phrasing(operation_questions), site))


@pytest.mark.claim("operation-in-words-partly")
def test_partly(subject, evidence, probed, operation_questions):
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(probed(by_phrasing(operation_questions), site))


@pytest.mark.claim("operation-in-words-lost-late")
def test_lost(subject, activations, evidence, operation_questions):
    count = subject.num_layers
    evidence.require(count > 1, f"has {count} layers; one before the last is needed")
    dataset = by_phrasing(operation_questions)
    evidence.record(
        signal_loss(subject, dataset, store=activations, seed=evidence.seed, claim=evidence.settles)
    )
