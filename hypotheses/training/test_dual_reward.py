"""Which projections must be trained for a middle layer's logit lens to name the class of a prompt?

All arms train the same number of parameters on the same items with the same seeds. The class word is trained and read
at the last token of the prompt; it is evaluated on questions with held-out operands. In the null arm the class words
are permuted over the items.

Whether training reveals existing information or creates it is a separate claim, tested against the same training of
untrained models.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("vo-creates-vocabulary-classifier")
def test_vo(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("qk-names-less-than-vo")
def test_qk(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("mlp-names-less-than-vo")
def test_mlp(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("all-projections-add-nothing")
def test_all(evidence, measured):
    evidence.record(measured)


@pytest.mark.claim("vo-reveals-existing-classifier")
def test_vo_reveals(evidence, measured):
    evidence.record(measured)
