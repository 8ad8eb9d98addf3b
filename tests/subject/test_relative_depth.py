from __future__ import annotations

from itertools import pairwise

import pytest

from lazarus_probe.claims.claim import NotApplicable
from lazarus_probe.claims.library import declared_claims
from lazarus_probe.subject.relative_depth import layer_at, layer_number, spaced_layers

CLAIMS = declared_claims()
PLACED = [claim for claim in CLAIMS.values() if claim.depth is not None]
PUBLISHED = [
    (claim, model, place)
    for claim in CLAIMS.values()
    for model, place in claim.published.items()
    if place.layer is not None
]


@pytest.mark.parametrize("claim", PLACED, ids=lambda claim: claim.id)
def test_no_claim_is_read_after_the_last_layer(claim):
    """For 2 to 100 layers the layer of a claim lies within the model, is not the last, and rises with their number."""
    layers = [claim.layer_for("a model that nothing is published for", count) for count in range(2, 101)]
    assert all(0 <= layer <= count - 2 for count, layer in enumerate(layers, 2))
    assert layers == sorted(layers)
    assert all(
        abs(layer - claim.depth * count) < 1 or layer == count - 2 for count, layer in enumerate(layers, 2)
    )


@pytest.mark.parametrize(
    ("claim", "model", "place"), PUBLISHED, ids=[f"{claim.id}-{model}" for claim, model, _ in PUBLISHED]
)
def test_a_published_layer_is_read_where_it_was_published(claim, model, place):
    """On the model that it was published for, the layer is the published one, to the number."""
    assert claim.layer_for(model, place.layers) == place.layer
    if place.layer < place.layers - 1:
        assert layer_at(place.layer / place.layers, place.layers) == place.layer


@pytest.mark.parametrize("count", range(2, 101))
def test_the_share_of_a_layer_is_that_layer(count):
    """Layer l of L is at depth l / L, but for the last, which no depth reaches."""
    assert [layer_at(layer / count, count) for layer in range(count)] == [*range(count - 1), count - 2]


def test_what_has_no_layer_within_is_refused():
    """A model of one layer, and a depth that is no share, raise and are named."""
    with pytest.raises(ValueError, match="a model of 1 layer has none before its last one"):
        layer_at(0.5, 1)
    with pytest.raises(ValueError, match=r"depth is 55: give a layer over the number of layers"):
        layer_at(55, 24)
    with pytest.raises(NotApplicable, match="has 1 layer, and so none before its last one"):
        CLAIMS["no-vocabulary-alignment"].layer_for("tiny", 1)


@pytest.mark.parametrize("decimals", [4, 5, 7])
def test_a_depth_with_few_decimals_is_the_layer_it_was_made_from(decimals):
    """Rounded down, layer 5 of 18 is 0.2777, which is still layer 5."""
    for count in range(3, 51):
        for layer in range(count - 1):
            depth = int(layer / count * 10**decimals) / 10**decimals
            assert layer_at(depth, count) == layer


def test_a_layer_is_counted_from_either_end():
    """-1 is the last of the model; a number that it does not have is refused under the name it was given by."""
    assert [layer_number(layer, 4) for layer in (-4, -1, 0, 3)] == [0, 3, 0, 3]
    for layer in (-5, 4):
        with pytest.raises(IndexError, match=rf"block {layer} is out of range: the model has layers 0 to 3"):
            layer_number(layer, 4, "block")


@pytest.mark.parametrize("num_layers", range(1, 101))
def test_spaced_layers_are_spread_over_the_model(num_layers):
    """Both ends among them, as many as asked for where there are so many, and steps that differ by one at most."""
    for count in range(2, 12):
        layers = spaced_layers(num_layers, count)
        assert (layers[0], layers[-1], len(layers)) == (0, num_layers - 1, min(count, num_layers))
        steps = {after - before for before, after in pairwise(layers)}
        assert max(steps, default=0) - min(steps, default=0) <= 1
