"""An edit that writes into the array it is given means what one that makes a new array means, at every site."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import hooked, trace
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import HEAD_AXIS
from lazarus_probe.interventions import Intervention, patch, zero
from lazarus_probe.subject import Subject, forward
from lazarus_probe.subject.generate import greedy
from tests.architectures import zoo
from tests.cases import slow_except

TOKENS = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]
# Of the other architectures `self_check` says it: tests/architectures runs it on all.
NAMES = ("llama", "olmoe", "gptj")


def assigned(value):
    value[...] = 0.5 * value
    return value


def multiplied(value):
    value *= 0.5
    return value


def written_through_numpy(value):
    view = np.array(value, copy=False)
    view[...] = 0.5 * view
    return value


def halved(value):
    return 0.5 * value


def first_row_assigned(value):
    value[0] = 0.5 * value[0]
    return value


def first_row_halved(value):
    return mx.concatenate([0.5 * value[:1], value[1:]])


WAYS = {
    "assigned": (assigned, halved),
    "multiplied": (multiplied, halved),
    "through numpy": (written_through_numpy, halved),
    "one row": (first_row_assigned, first_row_halved),
}


def sites(subject, layers, heads=False):
    places = [(kind, at) for at in layers for kind in kinds_at(subject.anatomy, at)]
    if heads:
        return [f"{kind}.{at}.0" for kind, at in places if kind in HEAD_AXIS]
    return ["embed", *(f"{kind}.{at}" for kind, at in places), "logits"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("positions", slow_except(["all", "last", [0, 3]], "all", [0, 3]))
@pytest.mark.parametrize("name", NAMES)
def test_writing_is_making(name, positions, way):
    """At every site of a block, for whole values, positions, heads and rows, logits and captures are the same."""
    subject = Subject.from_model(zoo.build(name))
    in_place, new = WAYS[way]
    for site in [*sites(subject, [1]), *sites(subject, [1], heads=True)]:
        written, made = (
            trace(subject, TOKENS, site, Intervention(site, edit, positions)) for edit in (in_place, new)
        )
        assert mx.array_equal(written.logits, made.logits), site
        assert mx.array_equal(written[site], made[site]), site


@pytest.mark.parametrize("kind", ["embed", *(kind for kind in PER_LAYER if kind != "mixer_out"), "logits"])
def test_zeros_written_in_place_are_the_ablation(kind):
    """At every kind of site of a mixture, and of a dense model, zeros written in place do what `zero` does."""
    for name in ("olmoe", "llama"):
        subject = Subject.from_model(zoo.build(name))
        there = [site for site in sites(subject, range(subject.num_layers)) if site.split(".")[0] == kind]
        for site in there[:1]:
            plain = trace(subject, TOKENS).logits
            edit = Intervention(site, lambda value: value.__setitem__(..., 0) or value)
            written = trace(subject, TOKENS, (), edit).logits
            assert mx.array_equal(written, trace(subject, TOKENS, (), zero(site)).logits)
            assert not mx.allclose(written, plain, atol=1e-4)


def test_generation_is_the_same(grouped):
    """With the cache, token by token, an edit in place leads to the text of one that makes a new array."""
    prompts = ["1 + 2 = ", "3 * 4 = "]

    def text(edit, site):
        with hooked(grouped, (), Intervention(site, edit)):
            return greedy(grouped, prompts, 6)

    zeros = {"new": mx.zeros_like, "written": lambda value: value.__setitem__(..., 0) or value}
    for site in ("pattern.1", "values.0", "head_out.2", "keys.1", "mlp_out.1"):
        assert text(zeros["written"], site) == text(zeros["new"], site)


@pytest.mark.parametrize("edit", [assigned, written_through_numpy])
def test_what_was_captured_before_the_edit_stays(edit):
    """What an outer context kept, and what entered the next part, is not changed by an edit made after it."""
    subject = Subject.from_model(zoo.build("llama"))
    plain = trace(subject, TOKENS, ["resid_post.1", "pattern.1", "keys.1"])
    for site in plain.captures:
        with hooked(subject, site) as before, hooked(subject, (), Intervention(site, edit)):
            mx.eval(forward(subject.model, mx.array(TOKENS)))
        assert mx.array_equal(before[site], plain[site]), site


def test_an_array_that_an_edit_keeps_stays_as_it_is():
    """gemma3 scales its embeddings in place: an array that an edit returned is not changed by that."""
    subject = Subject.from_model(zoo.build("gemma3_text"))
    own = trace(subject, TOKENS, "embed")["embed"]
    before = np.array(own)
    for edit in (Intervention("embed", lambda _: own), patch("embed", own)):
        run = trace(subject, TOKENS, (), edit)
        assert np.array_equal(np.array(own), before)
        assert mx.array_equal(run.logits, trace(subject, TOKENS).logits)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda value: value.__setitem__(..., 0), "None"),
        (lambda value: (value, value), "a tuple"),
        (np.array, "a ndarray"),
        (mx.array.__len__, "a int"),
        (lambda value: value[..., :1], r"\(2, .*, 1\) mlx.core.float32"),
        (lambda value: value.astype(mx.float16), r"\(2, .*\) mlx.core.float16"),
    ],
)
@pytest.mark.parametrize("site", ["resid_post.1", "pattern.1", "head_out.1.2", "logits"])
@pytest.mark.parametrize("positions", ["all", "last"])
def test_what_is_no_such_array_is_refused(grouped, site, positions, edit, what):
    """None, a tuple, another shape or type is refused by naming the site and what to return."""
    message = rf"edit at {site} returned {what}, not \(.*float32 as there: return the array that takes"
    with pytest.raises(ValueError, match=message):
        trace(grouped, TOKENS, (), Intervention(site, edit, positions))
