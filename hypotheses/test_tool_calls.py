"""From where on is it readable that a prompt asks for a tool?

The words of a request may tell it without any model: a bag of tokens stands beside, and the probe is tested on
phrasings that it has not met.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.tasks import language


def asked(evidence, rng):
    """Requests for tools and all other prompts in words, some of each phrasing."""
    by_phrasing = {}
    for each in (*language.tool_calls(), *language.capitals(), *language.sentiment(), *language.requests()):
        by_phrasing.setdefault(each.phrasing, []).append(each)
    count = evidence.claim.parameters["per_template"]
    drawn = [
        pool[i]
        for pool in by_phrasing.values()
        for i in rng.choice(len(pool), size=min(count, len(pool)), replace=False)
    ]
    return ProbeDataset(
        [each.prompt for each in drawn],
        np.array(["tool" if each.task == "tool" else "other" for each in drawn]),
        groups=np.array([each.phrasing for each in drawn]),
        at="mean",
    )


@pytest.mark.claim("tool-call-in-embeddings")
def test_embeddings(subject, untrained_models, activations, evidence, rng):
    labelled = asked(evidence, rng)
    evidence.record(
        probe(subject, untrained_models, labelled, Site("embed"), store=activations, seed=evidence.seed)
    )


@pytest.mark.claim("tool-call-after-layers")
@pytest.mark.parametrize("where", [0, 1])
def test_after_layers(subject, untrained_models, activations, evidence, rng, where):
    site = resid_post(min(where, subject.num_layers - 1))
    evidence.record(
        probe(subject, untrained_models, asked(evidence, rng), site, store=activations, seed=evidence.seed)
    )
