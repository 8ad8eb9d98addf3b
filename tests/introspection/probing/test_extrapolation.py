"""Readouts beyond their range: a line extrapolates, a table does not, noise does neither."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.extrapolation import Numbers, extrapolate, extrapolation
from lazarus_probe.subject import Subject
from lazarus_probe.tasks.arithmetic import Fact

SCORE = {"kind": "absence", "threshold": 0.5, "margin": 0.2, "minimum_groups": 10}
CLAIM = Claim(id="test", statement="a", source="b", controls=("in_range", "sum"), **SCORE)


def numbers(count=120):
    """The numbers from 0 on, the last third beyond the range."""
    values = np.arange(float(count))
    beyond = [value >= 2 * count // 3 for value in values]
    return Numbers([str(v) for v in values], values.tolist(), [str(v) for v in values], beyond)


def noise(rows, columns):
    return np.random.default_rng(0).normal(size=(rows, columns))


def test_a_line_extrapolates():
    """Where a direction holds the number, its readout holds within the range and beyond."""
    asked = numbers()
    features = noise(120, 8) + np.outer(asked.numbers, np.ones(8))
    out, within = extrapolate(features, asked)
    assert out.score > 0.95
    assert within.score > 0.95
    assert out.interval.low <= out.score <= out.interval.high
    assert len(out.predictions) == 40


def test_a_bounded_code_does_not():
    """Numbers coded by waves are read within the range and not beyond."""
    asked = numbers()
    waves = np.stack([np.sin(np.array(asked.numbers) / period) for period in (5, 7, 11, 17, 25, 40)], 1)
    out, within = extrapolate(np.concatenate([waves, 0.01 * noise(120, 4)], axis=1), asked)
    assert out.score < 0.5 < within.score


def test_noise_is_not_read_at_all():
    """From noise nothing is read within the range, and beyond it every error is a full one."""
    out, within = extrapolate(noise(120, 8), numbers())
    assert within.score < 0.2
    assert out.score == pytest.approx(1 - 1 / 0.615, abs=0.05)


def test_r2_is_that_of_sklearn():
    """The plain R2 beyond the range is sklearn's, and the score that of the same predictions with errors capped."""
    from sklearn.metrics import r2_score

    asked = numbers()
    features = 40 * noise(120, 8) + np.outer(asked.numbers, np.ones(8))
    out, _ = extrapolate(features, asked)
    truth = np.array(asked.numbers[80:])
    assert out.r2 == pytest.approx(r2_score(truth, out.predictions))
    of = [np.minimum((truth - guess) ** 2, truth.var()).sum() for guess in (out.predictions, truth.mean())]
    assert out.score == pytest.approx(1 - of[0] / of[1])


def asked_of(operation, step):
    """Facts, those with a large operand beyond the range."""
    facts = [Fact(operation, a, b) for a in range(1, 31, step) for b in range(1, 31, step)]
    return Numbers(
        [fact.prompt() for fact in facts],
        [float(fact.answer) for fact in facts],
        [str(fact.family) for fact in facts],
        [max(fact.a, fact.b) > 20 for fact in facts],
    )


def test_an_untrained_model_is_no_lookup():
    """In an untrained model all readouts fail beyond their range, so that one fails shows nothing."""
    subject = Subject.load("organism").untrained(5)
    asked, sums = asked_of("multiply", 3), asked_of("add", 3)
    found = extrapolation(subject, asked, {"sum": sums}, Site("resid_post", 4))
    assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED
    assert (found.n, [control.name for control in found.controls]) == (51, ["in_range", "sum"])


def test_one_side_is_refused():
    """Without prompts beyond the range there is nothing to extrapolate to."""
    asked = Numbers(["1", "2"], [1, 2], ["a", "b"], [False, False])
    with pytest.raises(ValueError, match="0 of 2 prompts are beyond the range"):
        extrapolate(np.eye(2), asked)
