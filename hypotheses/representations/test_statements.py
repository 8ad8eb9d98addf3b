"""Does what tells true statements from false ones on some topics tell them on another?

Every statement has a false one with the same words in other pairs, and half of the pairs are denied, where the false
pair makes a true statement. So neither words nor likely pairs of words tell.
"""

import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.tasks.statements import statements


def by_topic(rng, denied):
    """Statements by whether they are true; a topic is never split between train and test."""
    drawn = statements(rng, denied=denied)
    return ProbeDataset(
        [statement.text for statement in drawn],
        ["true" if statement.true else "false" for statement in drawn],
        groups=[statement.topic for statement in drawn],
    )


@pytest.mark.claim("truth-read-across-topics")
def test_across_topics(subject, evidence, probed, rng):
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(probed(by_topic(rng, denied=False), resid_post(layer)))


@pytest.mark.claim("truth-read-through-negation")
def test_through_negation(subject, evidence, probed, rng):
    layer = evidence.claim.layer_for(subject.name, subject.num_layers)
    evidence.record(probed(by_topic(rng, denied=True), resid_post(layer)))
