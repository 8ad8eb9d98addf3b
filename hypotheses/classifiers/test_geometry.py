"""What is the geometry of prompts, operations and numbers, beyond what any network and any words give?

Published cosines were not compared with untrained models, and the readout that failed outside its range was fitted on
six to nine prompts. Here directions are estimated on disjoint samples, and readouts on hundreds of facts.
"""

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.directions.operation_directions import Samples, directions
from lazarus_probe.introspection.geometry.similarity import similarity
from lazarus_probe.introspection.probing.extrapolation import Numbers, extrapolation
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS


@pytest.mark.claim("arithmetic-apart-in-embeddings")
def test_apart(subject, untrained_models, activations, evidence, rng):
    dataset = prompts.task_type(rng, evidence.claim.parameters["per_template"])
    evidence.record(
        similarity(subject, untrained_models, *dataset, Site("embed"), store=activations, seed=evidence.seed)
    )


@pytest.mark.claim("operation-directions-apart")
def test_directions(subject, untrained_models, activations, evidence, rng):
    declared = evidence.claim.parameters
    samples, per_sample = 2 * declared["rounds"], declared["facts"]
    samples_of = {}
    for operation in OPERATIONS:
        facts = prompts.sample_facts(operation, samples * per_sample, rng)
        numbers = [float(fact.answer) for fact in facts]
        samples_of[operation] = Samples(
            [fact.prompt() for fact in facts], numbers, np.repeat(np.arange(samples), per_sample).tolist()
        )
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    measurement = directions(
        subject,
        untrained_models,
        samples_of,
        site,
        store=activations,
        seed=evidence.seed,
        claim=evidence.settles,
    )
    evidence.record(measurement)


def numbers_beyond(operation, largest, count, rng):
    """Facts with operands up to 50; those with one above `largest` are outside the fitted range."""
    facts = prompts.sample_facts(operation, count, rng)
    return Numbers(
        [fact.prompt() for fact in facts],
        [float(fact.answer) for fact in facts],
        [str(fact.family) for fact in facts],
        [max(fact.a, fact.b) > largest for fact in facts],
    )


@pytest.mark.claim("product-readout-is-a-lookup")
def test_lookup(subject, activations, evidence, rng):
    declared = evidence.claim.parameters
    products, sums = (
        numbers_beyond(operation, declared["largest"], declared["questions"], rng)
        for operation in ("multiply", "add")
    )
    site = resid_post(evidence.claim.layer_for(subject.name, subject.num_layers))
    evidence.record(
        extrapolation(subject, products, {"sum": sums}, site, store=activations, seed=evidence.seed)
    )
