"""Differential ablation: shares, halves and controls, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks.interventions import zero
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.differential import differential_ablation, grade
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.generation.damage import damage
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import is_answer


@pytest.fixture(scope="module")
def facts() -> dict[str, list]:
    rng = np.random.default_rng(0)
    return {kind: prompts.products(kind, 24, rng) for kind in prompts.DIFFICULTIES}


@pytest.fixture(scope="module")
def graded(organism, facts):
    rows = [(fact, kind) for kind in facts for fact in facts[kind]]
    return grade(
        organism,
        [fact.prompt() for fact, _ in rows],
        [fact.answer for fact, _ in rows],
        [kind for _, kind in rows],
        [str(fact.family) for fact, _ in rows],
    )


def test_grades_are_the_models_answers(organism, facts, graded):
    """What counts as right is what the unablated model answers, parsed."""
    texts = greedy_completions(organism, graded.task.prompts)
    answers = graded.task.expected
    assert graded.right.tolist() == [is_answer(t, a) for t, a in zip(texts, answers, strict=True)]


def test_families_are_in_one_half(graded):
    """No operand family is in both halves, so the layer is tested on products it was not chosen on."""
    chosen, confirmed = (set(graded.families(graded.confirming == half)) for half in (False, True))
    assert chosen
    assert confirmed
    assert not chosen & confirmed


def test_shares_are_counted(organism, graded):
    """Score, layer table and control agree with zeroing each MLP in a plain loop."""
    found = differential_ablation(
        organism, graded, "prime", "trivial", "factorisable", method=AblationType.ZERO
    )
    broken = []
    for layer in range(organism.num_layers):
        texts = greedy_completions(organism, graded.task.prompts, [zero(f"mlp_out.{layer}")])
        now = np.array([is_answer(t, a) for t, a in zip(texts, graded.task.expected, strict=True)])
        broken.append(graded.right & ~now)

    def share(layer: int, kind: str, halves: tuple[bool, ...]) -> float:
        rows = (graded.kinds == kind) & np.isin(graded.confirming, halves) & graded.right
        return float(broken[layer][rows].mean())

    both = (False, True)
    expected = [share(layer, "prime", both) for layer in range(organism.num_layers)]
    (primes,) = [curve.y for curve in found.curves if curve.name == "prime broken"]
    assert primes == pytest.approx(expected)
    gaps = [share(i, "prime", (False,)) - share(i, "trivial", (False,)) for i in range(organism.num_layers)]
    assert found.details["layer"] == int(np.argmax(gaps))
    gate = found.details["layer"]
    prime, trivial, middle = (share(gate, kind, (True,)) for kind in ("prime", "trivial", "factorisable"))
    assert found.score == pytest.approx(prime - trivial)
    controls = {control.name: control for control in found.controls}
    assert controls["factorisable"].gain == pytest.approx(prime - middle)
    assert found.low <= found.score <= found.high
    gate_cut = damage(organism, lambda _rows, _length: [zero(f"mlp_out.{gate}")])
    assert found.damage.score == pytest.approx(gate_cut.score, abs=1e-6)
