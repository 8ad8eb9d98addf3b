"""Sites: their names, and what a model has of them."""

from __future__ import annotations

import pytest

from lazarus_probe.hooks import resolve
from lazarus_probe.hooks.sites import PER_LAYER
from lazarus_probe.sites import Site, embed, head_out, logits, neurons, pattern, resid_post, resid_pre


@pytest.mark.parametrize("text", ["embed", "logits", "resid_post.3", "head_out.3.2", "pattern.-1"])
def test_parse_is_the_inverse_of_str(text):
    """A site's text stands for that site."""
    assert str(Site.parse(text)) == text


def test_constructors_agree_with_parse():
    """The functions named after kinds build what their text says."""
    assert resid_post(3) == Site.parse("resid_post.3")
    assert head_out(3, 2) == Site.parse("head_out.3.2")
    assert {embed(), logits(), pattern(0)} == {Site("embed"), Site("logits"), Site("pattern", 0)}
    assert sorted([resid_pre(2), resid_pre(1)]) == [resid_pre(1), resid_pre(2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resid_pots.3", "unknown site 'resid_pots': did you mean resid_post?"),
        ("zzz", "unknown site 'zzz': the kinds are embed, resid_pre"),
        ("resid_post", "resid_post needs a layer; write for instance 'resid_post.0'"),
        ("logits.1", "logits has no layers; write 'logits'"),
        ("mlp_out.1.2", "mlp_out has no heads; queries, .*head_out.* have, as in 'head_out.0.2'"),
        ("head_out.1.2.3", "'head_out.1.2.3' has too many parts"),
        ("resid_post.x", "'resid_post.x' has a layer or head that is no number; write resid_post.0"),
    ],
)
def test_a_text_that_is_no_site_is_refused(text, message):
    """A misspelt site is an error that says what was meant."""
    with pytest.raises(ValueError, match=message):
        Site.parse(text)


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
