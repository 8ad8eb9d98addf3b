"""Control models: what they keep of the subject, what they lose, and how they are known."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import (
    LESIONS,
    ControlModel,
    _permuted_words,
    lesioned,
    random_order,
)


def weights(subject):
    return {name: np.array(value) for name, value in tree_flatten(subject.model.parameters())}


@pytest.mark.parametrize("lesion", LESIONS)
def test_all_but_the_blocks_is_kept(subject, lesion):
    """Embedding, final norm and unembedding are the subject's to the bit; every matrix of a block is another."""
    ours, theirs = weights(subject), weights(lesioned(subject, lesion, 3))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        inside = name.startswith("model.layers.")
        assert np.array_equal(value, theirs[name]) != inside, name


def test_permuted_blocks_keep_the_entries(subject):
    """Each weight of a block holds the same numbers in another order, and another seed gives another order."""
    ours, one, other = (
        weights(each) for each in (subject, *(lesioned(subject, "permuted_blocks", s) for s in (0, 1)))
    )
    for name, value in ours.items():
        assert np.array_equal(np.sort(value, axis=None), np.sort(one[name], axis=None))
    name = "model.layers.1.mlp.up_proj.weight"
    assert not np.array_equal(one[name], other[name])


def test_new_blocks_are_those_of_the_untrained_model(subject):
    """The blocks are those that the same seed initialises."""
    ours, theirs = weights(lesioned(subject, "new_blocks", 4)), weights(subject.untrained(4))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours if "layers." in name)


def test_quantised_weights_are_read_as_their_numbers(make_llama, tokenizer):
    """The lesioned model of a quantised one has plain embeddings, of the numbers that the quantised ones stand for."""
    model = make_llama(hidden_size=64, intermediate_size=64, vocab_size=64)
    nn.quantize(model, group_size=32, bits=8)
    subject = Subject.from_model(model, tokenizer)
    table = subject.anatomy.embedding
    plain = mx.dequantize(table["weight"], table["scales"], table["biases"], group_size=32, bits=8)
    found = lesioned(subject, "permuted_blocks", 0)
    assert mx.array_equal(found.anatomy.embedding["weight"], plain)
    assert mx.isfinite(forward(found.model, mx.array([[1, 2]]))).all()


def test_an_unknown_lesion_is_refused(grouped):
    """A lesion that there is not is named, with those that there are."""
    with pytest.raises(ValueError, match="lesion 'all' is unknown; give one of new_blocks, permuted_blocks"):
        lesioned(grouped, "all")


def test_a_control_model_is_known_by_its_recipe(grouped, make_llama, tokenizer):
    """Untrained models are known by architecture and seed, lesioned ones by the subject's weights as well."""
    other = Subject.from_model(make_llama(7, num_key_value_heads=2, tie_word_embeddings=False), tokenizer)
    deeper = Subject.from_model(make_llama(0, num_hidden_layers=5), tokenizer)
    one, same, seeded = (
        ControlModel(grouped, "untrained", 1),
        ControlModel(other, "untrained", 1),
        ControlModel(grouped, "untrained", 2),
    )
    assert one.fingerprint == same.fingerprint
    assert len({one.fingerprint, seeded.fingerprint, ControlModel(deeper, "untrained", 1).fingerprint}) == 3
    lesions = {ControlModel(model, lesion, 1).fingerprint for model in (grouped, other) for lesion in LESIONS}
    assert len(lesions) == 4


@pytest.mark.parametrize("kind", ["untrained", *LESIONS])
def test_it_builds_what_its_kind_says(grouped, kind):
    """The model built is the untrained or lesioned one of that seed, and built once while it is kept."""
    control = ControlModel(grouped, kind, 2)
    expected = grouped.untrained(2) if kind == "untrained" else lesioned(grouped, kind, 2)
    assert control.build().fingerprint == expected.fingerprint
    assert control.build() is control.build()


@pytest.mark.parametrize("kind", ["untrained", *LESIONS])
def test_fewer_layers_are_the_same_layers(grouped, kind):
    """A model built for its first layers has the values of the whole one there."""
    control, site = ControlModel(grouped, kind, 2), resid_post(1)
    whole, shallow = (
        collect(model, [[1, 2, 3]], [site])[site] for model in (control.build(), control.build(2))
    )
    assert np.array_equal(whole, shallow)


def test_a_block_that_shares_its_weights_is_permuted(make_llama, tokenizer):
    """A weight that a later block shares is permuted wherever the first of its blocks is used."""
    model = make_llama()
    model.layers[-1].mlp.up_proj = model.layers[0].mlp.up_proj
    control = ControlModel(Subject.from_model(model, tokenizer), "permuted_blocks", 0)
    shallow, whole = (
        weights(control.build(layers))["model.layers.0.mlp.up_proj.weight"] for layers in (1, None)
    )
    assert np.array_equal(shallow, whole)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_a_random_order_has_every_index_once(count):
    """It is a permutation."""
    order = random_order(count, np.random.default_rng(0))
    assert np.array_equal(np.sort(order), np.arange(count))


def test_random_orders_are_equally_likely():
    """Of 24,000 orders of four each of the 24 comes as often as the others, within five standard deviations."""
    rng = np.random.default_rng(0)
    orders = Counter(tuple(random_order(4, rng).tolist()) for _ in range(24_000))
    assert len(orders) == 24
    assert max(abs(count - 1000) for count in orders.values()) < 5 * np.sqrt(1000)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_entries_are_permuted_as_they_are(dtype):
    """Each entry moves to its place in the order unchanged, NaN too, whatever its type."""
    weight = mx.concatenate([mx.random.normal((5, 6), key=mx.random.key(1)), mx.full((1, 6), mx.nan)])
    weight = weight.astype(dtype)
    order = np.random.default_rng(0).permutation(weight.size)
    permuted = mx.array(_permuted_words(weight, order)).view(dtype)
    assert mx.array_equal(permuted, weight.reshape(-1)[mx.array(order)].reshape(6, 6), equal_nan=True)


def test_what_a_control_lacks_says_where_it_is(subject):
    """A name of a subject's asked of a control model leads to `build`, and one that it has is not touched."""
    control = ControlModel(subject, "untrained", 1)
    with pytest.raises(AttributeError, match=r"untrained-\d+ is not built yet and has no 'encode'"):
        control.encode("7*8=")
    assert not hasattr(control, "tokenizer")
    assert control.name.endswith("-untrained-1")
