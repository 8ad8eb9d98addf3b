"""Answers lost late: a model with its last block turned against the answer, and the null of a model without one."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.introspection.lens.late_loss import late_loss
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject import Subject

PAIRS = [(a, b) for a in range(2, 10) for b in range(2, 10)][:40]
PROMPTS, ANSWERS = [f"{a} * {b} = " for a, b in PAIRS], [str(a * b) for a, b in PAIRS]
UNITS = [str(sorted(pair)) for pair in PAIRS]


@pytest.fixture
def forgetful() -> Subject:
    """The organism with a last block that writes the opposite of the stream's answer."""
    subject = Subject.load("organism")
    last = subject.model.layers[-1]
    for projection in (last.mlp.down_proj, last.self_attn.o_proj):
        projection.weight = -3.0 * projection.weight
    mx.eval(subject.model.parameters())
    return subject


def test_the_fall_is_the_lens_at_two_layers(organism):
    """On its own base the model gains nothing over it; the score is the lens probability at the two layers."""
    found = late_loss(organism, organism, PROMPTS, ANSWERS, UNITS)
    control = {each.name: each for each in found.controls}["base"]
    assert control.gain == 0
    assert found.curves[0].y == found.curves[1].y
    assert found.score == pytest.approx(found.curves[0].y[found.details["layer"]] - found.curves[0].y[-1])
    tokens = [organism.encode(p + a)[len(organism.encode(p))] for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    lens = logit_lens(organism, PROMPTS, [-1]).probability(tokens)[:, 0]
    said = [float(each.said.split(", ")[1].split()[0]) for each in found.examples]
    firsts = [lens[PROMPTS.index(each.prompt)] for each in found.examples]
    assert said == pytest.approx(firsts, abs=0.006)


def test_a_planted_loss_is_found(organism, forgetful):
    """A last block that is turned against what it knew loses the answer; its base keeps it, and other answers stay."""
    found = late_loss(forgetful, organism, PROMPTS, ANSWERS, UNITS)
    assert found.details["layer"] < organism.num_layers - 1
    assert found.score > 0.05
    assert min(control.low for control in found.controls) > 0
    assert found.p < 0.01


def test_a_base_that_gains_where_the_model_loses(organism, forgetful):
    """A model that falls beside a base that rises: the gain is the difference of both, up to 2."""
    found = late_loss(forgetful, organism, PROMPTS, ANSWERS, UNITS)
    base = {each.name: each for each in found.controls}["base"]
    assert base.gain == pytest.approx(found.score - base.score)
    assert base.gain > found.score > 0 > base.score


def test_an_untrained_model_loses_nothing(organism):
    """Null: an untrained model never held the answer, so nothing falls."""
    found = late_loss(organism.untrained(1), organism.untrained(2), PROMPTS, ANSWERS, UNITS)
    assert abs(found.score) < 0.01
    assert all(control.low < 0.05 for control in found.controls)


def test_too_few_units_are_refused(organism):
    """Three independent units cannot be halved into a choice and a test."""
    with pytest.raises(ValueError, match="3 independent units"):
        late_loss(organism, organism, PROMPTS[:3], ANSWERS[:3], ["a", "b", "c"])


def test_halves_are_units(organism):
    """The number tested on is that of half the units, and a unit is never split."""
    found = late_loss(organism, organism, PROMPTS, ANSWERS, UNITS)
    assert found.groups == (len(np.unique(UNITS)) + 1) // 2
