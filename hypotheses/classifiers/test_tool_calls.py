"""From which layer on is it decodable that a prompt requests a tool?

The words of a request may reveal it without any model: a bag of tokens is the control, and the probe is tested on
held-out phrasings.
"""

import pytest

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset
from lazarus_probe.tasks.further_language import tool_requests

EARLY = (0, 1)


def requests(evidence, rng):
    """Requests for tools and others that words alone answer; a phrasing is never split between train and test."""
    drawn = tool_requests(rng, evidence.claim.parameters["per_template"])
    return ProbeDataset(
        [request.prompt for request in drawn],
        [request.task for request in drawn],
        groups=[request.phrasing for request in drawn],
        at="mean",
    )


@pytest.mark.claim("tool-call-in-embeddings")
def test_embeddings(evidence, probed, family_rng):
    evidence.record(probed(requests(evidence, family_rng), Site("embed")))


@pytest.mark.claim("tool-call-after-layers")
@pytest.mark.parametrize("where", EARLY)
def test_after_layers(subject, evidence, probed, family_rng, where):
    sites = {layer: resid_post(min(layer, subject.num_layers - 1)) for layer in EARLY}
    evidence.record(probed(requests(evidence, family_rng), sites[where], also=list(sites.values())))
