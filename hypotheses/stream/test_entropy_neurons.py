"""Are there neurons that make the next token more or less certain through the final norm alone?"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.entropy_neurons import through_the_norm
from lazarus_probe.introspection.generation.damage import unrelated_prompts


@pytest.mark.claim("entropy-neurons-act-through-norm")
def test_entropy_neurons(subject, untrained_models, evidence):
    texts = unrelated_prompts(seed=evidence.seed)
    try:
        measurement = through_the_norm(
            subject,
            untrained_models,
            texts.prompts,
            texts.units,
            seed=evidence.seed,
            claim=evidence.settles,
        )
    except (UnsupportedArchitecture, ValueError) as error:
        evidence.require(False, str(error))
    evidence.record(measurement)
