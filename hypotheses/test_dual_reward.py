"""Which projections have to be trained for a middle layer's logit lens to name the class of a prompt?

All arms train the same number of parameters on the same items under the same seeds. The class word is trained and read
at the last token of the prompt; the questions it is read on have operands held out of the training. In the null arm the
class words are permuted over the items.

Whether the training reads out what is there or builds it anew is a claim of its own, held against the same training of
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
