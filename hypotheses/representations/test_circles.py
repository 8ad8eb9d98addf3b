"""Do the days of the week and the months lie on a circle, in their order?

Seven words fit some plane in nearly any order, so other orders are tried in the same way.
"""

import pytest

from lazarus_probe.introspection.geometry.circles import circular_order
from lazarus_probe.tasks.calendar import DAYS, MONTHS, SENTENCES


@pytest.fixture
def on_a_circle(subject, untrained_models, activations, evidence):
    """`on_a_circle(words)`: how well the words' angles follow their order, at the claim's depth."""

    def run(words):
        layer = evidence.claim.layer_for(subject.name, subject.num_layers)
        return circular_order(
            subject,
            untrained_models,
            words,
            SENTENCES,
            layer,
            store=activations,
            seed=evidence.seed,
            claim=evidence.settles,
        )

    return run


@pytest.mark.claim("days-lie-on-a-circle")
def test_days(on_a_circle, evidence):
    evidence.record(on_a_circle(DAYS))


@pytest.mark.claim("months-lie-on-a-circle")
def test_months(on_a_circle, evidence):
    evidence.record(on_a_circle(MONTHS))
