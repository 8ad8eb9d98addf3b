"""Does the model hold a classifier of the operation in its hidden space, layer by layer?

The published probe used 16 prompts in one format, where the operator is a token of the prompt: a bag of tokens and an
untrained model decode it too. So it is tested twice: as published, and on held-out phrasings.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.probing.inputs import by_phrasing
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import ALL_PHRASINGS


@pytest.mark.claim("operation-in-hidden-space")
def test_same_phrasing(subject, untrained_models, activations, evidence, rng, layer):
    questions = prompts.matched_questions(rng, families=40)
    labels = np.array([question.fact.operation for question in questions])
    families = np.array([question.family for question in questions])
    labelled = ProbeDataset([question.text for question in questions], labels, families)
    measurement = probe(
        subject, untrained_models, labelled, resid_post(layer), store=activations, seed=evidence.seed
    )
    evidence.record(measurement)


@pytest.mark.claim("operation-across-phrasings")
def test_unmet_phrasing(subject, untrained_models, activations, evidence, rng, layer):
    labelled = by_phrasing(prompts.questions(rng, per_cell=2, phrasings=tuple(ALL_PHRASINGS)))
    measurement = probe(
        subject, untrained_models, labelled, resid_post(layer), store=activations, seed=evidence.seed
    )
    evidence.record(measurement)
