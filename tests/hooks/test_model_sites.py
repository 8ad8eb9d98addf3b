"""Which of the sites a model has."""

from __future__ import annotations

import pytest

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import resolve
from lazarus_probe.sites import Site, embed, head_out, neurons, resid_post


def test_negative_layers_and_heads_count_from_the_last(grouped):
    """Resolving a site makes it the same as the one counted from the start."""
    assert resolve("resid_post.-1", grouped.anatomy) == resid_post(3)
    assert resolve(head_out(-2, -1), grouped.anatomy) == head_out(2, 3)
    assert resolve("embed", grouped.anatomy) == embed()


@pytest.mark.parametrize("kind", PER_LAYER)
def test_a_layer_the_model_lacks_is_refused(grouped, kind):
    """Layer 4 of a model with 4 layers is an error that names the layers there are."""
    with pytest.raises(
        IndexError, match=rf"layer 4 of {kind}.4 is out of range: the model has layers 0 to 3"
    ):
        resolve(Site(kind, 4), grouped.anatomy)


def test_a_head_the_model_lacks_is_refused(grouped):
    """Head 4 of a model with 4 heads is an error that names the heads there are."""
    with pytest.raises(
        IndexError, match=r"head 4 of head_out.0.4 is out of range: the model has heads 0 to 3"
    ):
        resolve(head_out(0, 4), grouped.anatomy)
    assert str(neurons(1)) == "neurons.1"


def test_a_kind_the_block_lacks_is_refused(grouped):
    """A router in a dense block is an error that names the kinds which the block has."""
    with pytest.raises(ValueError, match=r"the model has no router_logits.1; block 1 has resid_pre, queries"):
        resolve("router_logits.1", grouped.anatomy)
