"""Taps: the class swap, and that it leaves nothing behind."""

from __future__ import annotations

import copy

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import hooked
from lazarus_probe.hooks.sites import WHOLE_MODEL
from lazarus_probe.subject import forward
from lazarus_probe.taps import Tap, tapped, taps_on, untapped

TOKENS = mx.array([[3, 5, 7, 11, 13]])
LLAMA = [kind for kind in PER_LAYER if kind not in ("mixer_out", "router_logits", "expert_out")]
ALL_SITES = [*WHOLE_MODEL, *(f"{kind}.{layer}" for kind in LLAMA for layer in (0, 3))]


def snapshot(model):
    parameters = [(name, id(value)) for name, value in tree_flatten(model.parameters())]
    return [(name, type(module)) for name, module in model.named_modules()], parameters


def test_classes_and_parameters_are_restored(subject):
    """After a context the modules have their classes, the model its very parameters, and mlx its kernel."""
    before, kernel = snapshot(subject.model), mx.fast.scaled_dot_product_attention
    with hooked(subject, ALL_SITES):
        assert snapshot(subject.model)[0] != before[0]
        assert snapshot(subject.model)[1] == before[1]
        forward(subject.model, TOKENS)
    assert snapshot(subject.model) == before
    assert mx.fast.scaled_dot_product_attention is kernel


@pytest.mark.parametrize("site", ["embed", "pattern.1", "head_out.1", "logits"])
def test_everything_is_restored_after_an_exception(grouped, site):
    """An exception in the middle of a forward comes through, and leaves nothing behind."""

    def fail(value):
        raise ZeroDivisionError

    from lazarus_probe.interventions import Intervention

    before, kernel = snapshot(grouped.model), mx.fast.scaled_dot_product_attention
    with pytest.raises(ZeroDivisionError), hooked(grouped, ALL_SITES, Intervention(site, fail)):
        forward(grouped.model, TOKENS)
    assert snapshot(grouped.model) == before
    assert mx.fast.scaled_dot_product_attention is kernel


def test_tapped_modules_keep_their_names_and_types(grouped):
    """Code that asks a module for its type, name or attributes gets the same answers while it is tapped."""
    block = grouped.anatomy.blocks[0]
    cls = type(block)
    with tapped([Tap(block)]):
        assert isinstance(block, cls)
        assert (type(block).__name__, type(block).__module__) == (cls.__name__, cls.__module__)
        assert block.use_sliding is False


def test_outer_taps_run_first_on_the_way_in_and_out(grouped):
    """Of nested contexts the inner one sees what the outer one changed."""
    norm = grouped.model.model.norm
    seen = []

    def note(name):
        def change(value):
            seen.append(name)
            return value

        return change

    with (
        tapped([Tap(norm, before=note("outer in"), after=note("outer out"))]),
        tapped([Tap(norm, before=note("inner in"), after=note("inner out"))]),
        tapped([Tap(norm, before=note("first in"))], first=True),
    ):
        norm(mx.ones((1, 1, 32)))
    assert seen == ["first in", "outer in", "inner in", "outer out", "inner out"]


def test_only_the_first_of_a_tuple_is_changed():
    """A module that returns a tuple keeps the rest of it."""
    import mlx.nn as nn

    class Pair(nn.Module):
        def __call__(self, x):
            return x, "rest"

    pair = Pair()
    with tapped([Tap(pair, after=lambda value: value * 2)]):
        value, rest = pair(mx.ones(2))
    assert value.tolist() == [2, 2]
    assert rest == "rest"


def test_a_deep_copy_made_inside_is_untouched_by_the_taps(grouped):
    """A copy of a tapped model is the plain model: its calls run no taps."""
    with tapped([Tap(grouped.anatomy.blocks[1], after=mx.zeros_like)]):
        twin = copy.deepcopy(grouped.model)
        inside = forward(twin, TOKENS)
    assert mx.array_equal(inside, forward(grouped.model, TOKENS))


def test_within_untapped_only_inner_taps_act(grouped):
    """A run within sees none of the taps around it but its own, once; afterwards those around act again."""
    block = grouped.anatomy.blocks[1]
    outer, inner = [], []
    plain = forward(grouped.model, TOKENS)
    tap = Tap(block, after=outer.append)
    with tapped([tap, Tap(grouped.anatomy.blocks[2], after=mx.zeros_like)]):
        zeroed = forward(grouped.model, TOKENS)
        with untapped():
            assert taps_on(block) == ()
            with tapped([Tap(block, after=inner.append)]):
                within = forward(grouped.model, TOKENS)
        assert taps_on(block) == (tap,)
        again = forward(grouped.model, TOKENS)
    assert (len(outer), len(inner)) == (2, 1)
    assert mx.array_equal(within, plain).item()
    assert not mx.array_equal(zeroed, plain).item()
    assert mx.array_equal(again, zeroed).item()
