"""A frozen classifier and routing: dual reward first, then answers, with the layers up to the classifier frozen.

The classifier cannot change in the second training. The test is whether a model that names the class at the frozen
layer also answers, not whether its answer depends on the class word.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("routing-keeps-classifier-and-answers")
def test_both(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("routing-keeps-answers")
def test_answers(evidence, measured):
    evidence.record(measured)
