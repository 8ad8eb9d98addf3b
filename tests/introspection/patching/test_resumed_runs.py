"""A run that begins at a block is the whole run."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.introspection.patching.resumed_runs import entering, resumed_logits

IDS = [[0, 5, 9, 11, 7, 30], [0, 6, 8, 22, 17, 3], [0, 9, 3, 4, 2, 12]]


@pytest.mark.parametrize("layer", [0, 1, 3, 4])
def test_a_run_from_a_block_is_the_whole_run(subject, layer):
    """Logits at the last position are the same from the block's recorded input as from the tokens."""
    tokens = mx.array(IDS)
    before = entering(subject, tokens, [layer])
    assert set(before) == {layer}
    whole = np.array(forward(subject.model, tokens)[:, -1])
    np.testing.assert_allclose(np.array(resumed_logits(subject, tokens, layer, before)), whole, atol=1e-5)
    np.testing.assert_allclose(np.array(resumed_logits(subject, tokens, layer, {})), whole, atol=1e-5)
