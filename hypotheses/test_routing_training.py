"""A frozen classifier and routing: dual reward first, then answers, with the layers up to the classifier frozen.

The classifier cannot change in the second training. What is tested is that a model which names the class at the frozen
layer answers too; that its answer needs the class word is not.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("routing-keeps-classifier-and-answers")
def test_both(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("routing-keeps-answers")
def test_answers(evidence, measured):
    evidence.record(measured)
