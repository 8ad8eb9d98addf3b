"""States put in, against single runs edited by hand, and on models that know nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.patching.injection import inject, injection
from lazarus_probe.subject import Subject
from tests.tolerance import of_logits, sole_best

SITE = Site("resid_post", 2)
PROMPTS = ["1 + 2", "cab", "7 * 8 =", "car a cab", "2 + 2"]
CONTROLS = ("random_state", "other_position", "other_state")
SCORE = {"kind": "causal_sufficiency", "threshold": 0.5, "margin": 0.25, "minimum_groups": 10}
CLAIM = Claim(id="test", statement="a", source="b", controls=CONTROLS, **SCORE)


def test_each_prompt_gets_its_own_state(grouped):
    """The first token said is that of a single run with the state patched by hand, for any lengths and positions."""
    states = 3 * np.random.default_rng(0).normal(size=(len(PROMPTS), 32)).astype(np.float32)
    for back in (1, 2):
        said = inject(grouped, PROMPTS, states, SITE, back, max_tokens=1)
        for i, prompt in enumerate(PROMPTS):
            edit = patch(SITE, states[i], positions=-back)
            logits = trace(grouped, prompt, interventions=edit).logits[0, -1]
            token = sole_best(np.array(logits), of_logits(grouped, np.array(logits)))
            expected = "" if token in grouped.eos_token_ids else grouped.decode([token])
            assert said[i].strip() == expected.strip()


def products():
    """Pairs of products of digits with different answers."""
    facts = [(a, b) for a in range(2, 8) for b in range(2, 8)]
    return [
        (one, two)
        for one, two in zip(facts, facts[7:] + facts[:7], strict=True)
        if one[0] * one[1] != two[0] * two[1]
    ]


def measured(subject, layer, seed=0):
    pairs = products()
    return injection(
        subject,
        [f"{a}*{b}=" for (a, b), _ in pairs],
        [f"{a}*{b}=" for _, (a, b) in pairs],
        [a * b for (a, b), _ in pairs],
        [str(sorted(one)) for one, _ in pairs],
        layer,
        seed,
    )


def test_the_last_layer_replaces_the_output():
    """After the last layer the state is the output: the source's answer comes out, and other states' do not."""
    found = measured(Subject.load("organism"), 7)
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED
    assert found.controls[1].score == 0
    assert found.damage.low > 0.9  # it is the output of any other prompt as well


def test_untrained_models_carry_no_answer():
    """Where there is no answer none is carried."""
    for seed in range(3):
        found = measured(Subject.load("organism").untrained(10 + seed), 7, seed)
        assert judge(CLAIM, found).outcome is Outcome.REFUTED


def test_a_position_that_is_not_there_is_refused(grouped):
    """A prompt too short for the position is named."""
    with pytest.raises(ValueError, match="no position 9 from its end"):
        inject(grouped, ["1"], np.zeros((1, 32), np.float32), SITE, back=9)
