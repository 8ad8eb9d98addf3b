"""Does a lens with a fitted map for each layer name the next token earlier than the logit lens does?"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.training.earlier_lens import reads_earlier
from lazarus_probe.training.own_texts import own_texts


@pytest.mark.claim("fitted-lens-names-tokens-earlier")
def test_earlier_lens(subject, untrained_models, evidence):
    declared = evidence.claim.parameters
    try:
        measurement = reads_earlier(
            subject,
            untrained_models,
            own_texts(subject, declared["texts"], evidence.seed).ids,
            earlier=declared["earlier"],
            fitted=declared["fitted"],
            seed=evidence.seed,
            claim=evidence.settles,
        )
    except (UnsupportedArchitecture, ValueError) as error:
        evidence.require(False, str(error))
    evidence.record(measurement)
