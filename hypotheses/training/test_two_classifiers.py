"""Hidden-space and vocabulary-aligned classifiers, before and after training.

Before: `operation-in-hidden-space` and `no-vocabulary-alignment`, in their own files. After: the vocabulary-aligned
classifier in `test_dual_reward.py`, and here whether the hidden-space classifier is preserved.
"""

import pytest

pytestmark = pytest.mark.training


@pytest.mark.claim("hidden-space-classifier-kept")
def test_hidden_space(evidence, measured):
    evidence.record(measured)
