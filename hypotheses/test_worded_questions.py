"""Where is the operation of a verbal question decodable, and is it lost again?

The published probe was tested on its training prompts, or on four of 16. Here it is tested on held-out phrasings, and
intervals are clustered by phrasing and operand family.
"""

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.inputs import by_phrasing
from lazarus_probe.introspection.probing.probe import probe
from lazarus_probe.introspection.probing.signal_loss import signal_loss
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import ALL_VERBAL


def worded(evidence, rng):
    """Verbal questions labelled by operation; a phrasing is never split between train and test."""
    return by_phrasing(prompts.questions(rng, evidence.claim.parameters["per_cell"], ALL_VERBAL))


@pytest.mark.claim("operation-in-words")
def test_early(subject, untrained_models, activations, evidence, family_rng):
    dataset = worded(evidence, family_rng)
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(probe(subject, untrained_models, dataset, site, store=activations, seed=evidence.seed))


@pytest.mark.claim("operation-in-words-partly")
def test_partly(subject, untrained_models, activations, evidence, family_rng):
    dataset = worded(evidence, family_rng)
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(probe(subject, untrained_models, dataset, site, store=activations, seed=evidence.seed))


@pytest.mark.claim("operation-in-words-lost-late")
def test_lost(subject, activations, evidence, family_rng):
    count = subject.num_layers
    evidence.require(count > 1, f"has {count} layers; one before the last is needed")
    dataset = worded(evidence, family_rng)
    evidence.record(signal_loss(subject, dataset, store=activations, seed=evidence.seed))
