"""The self-check: that it holds where hooks are right, and fails where they are made wrong."""

from __future__ import annotations

import sys

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import additivity, places, trace
from lazarus_probe.hooks.check import distance
from lazarus_probe.hooks.model_check import self_check
from lazarus_probe.subject import Subject
from tests.cases import slow_except

NOT_OF_A_LLAMA = ("mixer_out", "router_logits", "expert_out")

LLAMA = ["embed", *(kind for kind in PER_LAYER if kind not in NOT_OF_A_LLAMA), "logits"]
# The package exports functions under the names of these modules.
TRACE = sys.modules["lazarus_probe.hooks.context"]
REPLAY = sys.modules["lazarus_probe.hooks.replay"]


def test_every_statement_holds_on_a_llama(subject):
    """On each kind of Llama every statement holds, and a block is the plain sum of its parts."""
    result = self_check(subject)
    assert result.ok
    assert all(check.holds for check in result.checks)
    assert {str(one) for one in result.additivity} == {"resid_pre + attn_out + mlp_out"}
    assert result.architecture == "llama"


def test_the_model_is_left_as_it_was(grouped):
    """The self-check changes neither classes nor logits."""
    before = trace(grouped, [[3, 5, 7]]).logits
    self_check(grouped)
    assert mx.array_equal(trace(grouped, [[3, 5, 7]]).logits, before)


def lost(visit):
    """A visit whose edits are dropped."""

    def look(value):
        visit(value)

    return look


def altering(visit):
    """A visit that doubles what it looks at."""

    def look(value):
        new = visit(2 * value)
        return 2 * value if new is None else new

    return look


def wrong_taps(wrong):
    """`tap_at` with another visit where the residual and the outputs of parts are."""

    def tap_at(anatomy, site, visit):
        kinds = ("resid_post", "attn_out", "mlp_out")
        return places.tap_at(anatomy, site, wrong(visit) if site.kind in kinds else visit)

    return tap_at


def test_edits_that_get_lost_are_found(make_llama, monkeypatch):
    """With edits dropped on their way the statements about edits fail."""
    subject = Subject.from_model(make_llama())
    monkeypatch.setattr(TRACE, "tap_at", wrong_taps(lost))
    failed = {check.name for check in self_check(subject).failed}
    assert {"edits at attn_out reach the logits", "edits at resid_post reach the logits"} <= failed


def test_looking_that_alters_is_found(make_llama, monkeypatch):
    """With a look that changes what it looks at, the first statement fails."""
    subject = Subject.from_model(make_llama())
    monkeypatch.setattr(TRACE, "tap_at", wrong_taps(altering))
    failed = {check.name for check in self_check(subject).failed}
    assert {"looking changes no logit", "attn_out patched with itself changes nothing"} <= failed


@pytest.mark.parametrize("kind", slow_except(LLAMA, "resid_mid", "neurons"))
def test_edits_in_place_that_get_lost_are_found(make_llama, monkeypatch, kind):
    """With what an edit wrote into its argument dropped at one kind of site, the statement fails and names it."""
    subject = Subject.from_model(make_llama())
    real = TRACE._changed

    def by_identity(edit, value):
        before = value[...]
        new = real(edit, value)
        return (
            before
            if edit.site.kind == kind and getattr(edit.edit, "__name__", "") == "_halve_in_place"
            else new
        )

    monkeypatch.setattr(TRACE, "_changed", by_identity)
    failed = {check.name: check.note for check in self_check(subject).failed}
    assert list(failed) == ["an edit in place is one that makes a new array"]
    assert failed["an edit in place is one that makes a new array"].startswith(f"not at {kind}")


def test_a_wrong_tail_is_found(make_llama, monkeypatch):
    """With a replay that drops half of the residual, lens and resuming fail."""
    subject = Subject.from_model(make_llama())
    real = places.resid_layout
    monkeypatch.setattr(REPLAY, "resid_layout", lambda anatomy, value: real(anatomy, value / 2))
    failed = {check.name for check in self_check(subject).failed}
    assert "resuming at the middle layer" in failed


def test_scaled_terms_are_told(make_llama):
    """A block that scales what its parts say is told with its factors."""
    subject = Subject.from_model(make_llama())

    class Scaled(type(subject.anatomy.blocks[1])):
        def __call__(self, x, mask=None, cache=None):
            r = self.self_attn(self.input_layernorm(x), mask, cache)
            h = x + 0.25 * r
            return h + 0.5 * self.mlp(self.post_attention_layernorm(h))

    subject.anatomy.blocks[1].__class__ = Scaled
    found = additivity.additivity(subject, [list(range(12)), list(range(12, 24))])
    assert str(found[0]) == "resid_pre + attn_out + mlp_out"
    assert found[1].terms == pytest.approx({"resid_pre": 1.0, "attn_out": 0.25, "mlp_out": 0.5}, abs=1e-3)
    assert found[1].holds


def test_what_is_no_sum_is_said_to_be_none(make_llama):
    """A block that multiplies its parts is no sum of them."""
    subject = Subject.from_model(make_llama())

    class Multiplied(type(subject.anatomy.blocks[1])):
        def __call__(self, x, mask=None, cache=None):
            r = self.self_attn(self.input_layernorm(x), mask, cache)
            return x * (1 + r) + self.mlp(x)

    subject.anatomy.blocks[1].__class__ = Multiplied
    found = additivity.additivity(subject, [list(range(12)), list(range(12, 24))])
    assert not found[1].holds
    assert str(found[1]).startswith("no sum of its parts")


def test_distance_is_relative_and_strict():
    """A difference is relative to the largest value; other shapes and values that are no numbers are infinitely far."""
    left = mx.array([1.0, 2.0, 4.0])
    assert distance(left + 1, left) == pytest.approx(0.25)
    assert distance(left[:2], left) == np.inf
    assert distance(left * mx.inf, left) == np.inf
