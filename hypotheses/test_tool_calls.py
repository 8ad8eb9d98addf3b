"""From which layer on is it decodable that a prompt requests a tool?

The words of a request may reveal it without any model: a bag of tokens is the control, and the probe is tested on
held-out phrasings.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.tasks import language


def requests(evidence, rng):
    """Requests for tools and all other verbal prompts, some of each phrasing."""
    by_phrasing = {}
    for example in (
        *language.tool_calls(),
        *language.capitals(),
        *language.sentiment(),
        *language.requests(),
    ):
        by_phrasing.setdefault(example.phrasing, []).append(example)
    count = evidence.claim.parameters["per_template"]
    drawn = [
        pool[i]
        for pool in by_phrasing.values()
        for i in rng.choice(len(pool), size=min(count, len(pool)), replace=False)
    ]
    return ProbeDataset(
        [example.prompt for example in drawn],
        np.array(["tool" if example.task == "tool" else "other" for example in drawn]),
        groups=np.array([example.phrasing for example in drawn]),
        at="mean",
    )


@pytest.mark.claim("tool-call-in-embeddings")
def test_embeddings(subject, untrained_models, activations, evidence, rng):
    labelled = requests(evidence, rng)
    evidence.record(
        probe(subject, untrained_models, labelled, Site("embed"), store=activations, seed=evidence.seed)
    )


@pytest.mark.claim("tool-call-after-layers")
@pytest.mark.parametrize("where", [0, 1])
def test_after_layers(subject, untrained_models, activations, evidence, rng, where):
    site = resid_post(min(where, subject.num_layers - 1))
    evidence.record(
        probe(subject, untrained_models, requests(evidence, rng), site, store=activations, seed=evidence.seed)
    )
