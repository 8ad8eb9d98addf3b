"""Do later components make up for the head that adds most to the answer, when it is ablated?"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.best_repair import made_up_for
from lazarus_probe.introspection.studies.preferences import (
    ContinuationError,
    first_is_likeliest,
    option_probabilities,
)
from lazarus_probe.subject.spellings import token_of
from lazarus_probe.tasks.names import indirect_objects


def one_token(subject, choices):
    """Sentences whose two names are one token each after a space, with those names."""
    named = [(choice, [f" {name}" for name in choice.options]) for choice in choices]
    return [
        (choice, names)
        for choice, names in named
        if all(token_of(subject, name) is not None for name in names)
    ]


@pytest.mark.claim("loss-of-best-head-made-up-for")
def test_repair(subject, untrained_models, evidence, rng):
    declared = evidence.claim.parameters
    drawn = one_token(subject, indirect_objects(rng, declared["per_template"]))
    templates = {choice.template for choice, _ in drawn}
    evidence.require(
        len(templates) >= declared["templates"],
        f"has one token for each of two names in {len(templates)} of the sentences; {declared['templates']} are needed",
    )
    prompts = [choice.prompt for choice, _ in drawn]
    try:
        likeliest = first_is_likeliest(option_probabilities(subject, prompts, [c.options for c, _ in drawn]))
    except ContinuationError as error:
        evidence.require(False, str(error))
    evidence.require(
        likeliest.mean() >= declared["right"],
        f"prefers the indirect object in {likeliest.mean():.2f} of the sentences; {declared['right']:.2f} needed",
    )
    try:
        measurement = made_up_for(
            subject,
            untrained_models,
            prompts,
            [names[0] for _, names in drawn],
            [names[1] for _, names in drawn],
            [choice.template for choice, _ in drawn],
            seed=evidence.seed,
            claim=evidence.settles,
        )
    except UnsupportedArchitecture as error:
        evidence.require(False, str(error))
    evidence.record(measurement)
