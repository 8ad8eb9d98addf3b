"""Sites: their names, as texts and as functions."""

from __future__ import annotations

import pytest

from lazarus_probe.sites import Site, embed, head_out, logits, pattern, resid_post, resid_pre


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
