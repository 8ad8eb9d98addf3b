"""Words that are not known, and what was probably meant."""

from __future__ import annotations

import pytest

from lazarus_probe.spelling import nearest, one_of


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("resid-post", "resid_post"),
        ("RESID_POST", "resid_post"),
        ("resid_pst", "resid_post"),
        ("zebra", None),
    ],
)
def test_the_nearest_word(word, meant):
    """Case and - or _ do not matter, a slip of the pen neither; a word like none of them is no guess."""
    assert nearest(word, ["resid_pre", "resid_post", "embed"]) == meant


def test_what_to_give():
    """The nearest is named first, then all there are, then that there are none."""
    assert one_of("adde", ["add", "divide"]) == "did you mean add? give one of add, divide"
    assert one_of("zebra", ["add"]) == "give one of add"
    assert one_of("zebra", []) == "give one of (there are none)"
