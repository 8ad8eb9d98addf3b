"""Hidden-space and vocabulary-aligned classifiers, before and after training.

Before: `operation-in-hidden-space` and `no-vocabulary-alignment`, in files of their own. After: what the vocabulary
names, in `test_dual_reward.py`, and here whether the hidden space still holds what it held.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("hidden-space-classifier-kept")
def test_hidden_space(evidence, measured):
    evidence.record(measured)
