"""Can a block of the middle go, or change places with the next, and is that more than any small push allows?"""

import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.ablation.predictions_kept import predictions_kept


def recorded(subject, untrained_models, evidence, edit):
    """The share of predictions kept, on models with blocks that can be edited so."""
    try:
        measurement = predictions_kept(
            subject, untrained_models, edit, seed=evidence.seed, claim=evidence.settles
        )
    except (UnsupportedArchitecture, ValueError) as error:
        evidence.require(False, str(error))
    evidence.record(measurement)


@pytest.mark.claim("middle-block-can-go")
def test_deleted(subject, untrained_models, evidence):
    recorded(subject, untrained_models, evidence, "delete")


@pytest.mark.claim("middle-neighbours-can-swap")
def test_swapped(subject, untrained_models, evidence):
    recorded(subject, untrained_models, evidence, "swap")
