"""Patching between prompts, against a loop of plain forwards."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.patching import Pair, classify, sweep_residual, transfer
from lazarus_probe.subject.subject import Subject
from tests.tolerance import of_logits, sole_best

PAIR = Pair("7*8=", "7+8=", 56, 15)


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [
        ("15", "56", "full_transfer"),
        ("15", "15", "no_effect"),
        ("15", "15 and", "no_effect"),
        ("15", "45", "partial_transfer"),
        ("15", "5", "partial_transfer"),
        ("15", "560", "partial_transfer"),
        ("15", "the", "corruption"),
        ("15", "", "corruption"),
    ],
)
def test_effects(before, after, effect):
    """An effect is told from whole numbers: a shared first digit is no transfer."""
    assert classify(before, after, PAIR) == effect


def test_a_thousands_separator_is_the_number():
    """`2,209` is 47*47: the answer that once counted as broken."""
    assert classify("94", "2,209", Pair("47*47=", "47+47=", 2209, 94)) == "full_transfer"


def naive_patched(
    subject: Subject, source: str, target: str, layer: int, position: int, steps: int
) -> list[int]:
    """Greedy tokens by whole forwards without a cache, the residual put in by hand at every step."""
    model, given = subject.model, mx.array([subject.encode(source)])
    donor = trace(subject, given, capture=Site("resid_post", layer))[Site("resid_post", layer)][:, position]
    tokens = subject.encode(target)
    for _ in range(steps):
        h = model.model.embed_tokens(mx.array([tokens]))
        for i, block in enumerate(model.layers):
            h = block(h, "causal", None)
            if i == layer:
                h[:, position] = donor
        h = model.model.norm(h)
        logits = model.model.embed_tokens.as_linear(h) if model.args.tie_word_embeddings else model.lm_head(h)
        last = np.array(logits[0, -1])
        tokens.append(sole_best(last, of_logits(subject, last)))
    return tokens[-steps:]


@pytest.mark.parametrize("layer", [0, 2, 3])
@pytest.mark.parametrize("position", [1, 2, 4])
def test_a_cell_is_the_naive_loop(grouped, layer, position):
    """Patched generation with a cache gives the tokens of a loop of plain, cacheless forwards."""
    from lazarus_probe.hooks.interventions import patch
    from lazarus_probe.hooks.trace import hooked
    from lazarus_probe.subject.generate import greedy

    value = trace(grouped, PAIR.source, capture=f"resid_post.{layer}")[f"resid_post.{layer}"][
        :, position : position + 1
    ]
    with hooked(grouped, interventions=patch(f"resid_post.{layer}", value, position)):
        text = greedy(grouped, [PAIR.target], 4)[0]
    expected = naive_patched(grouped, PAIR.source, PAIR.target, layer, position, 4)
    ends = [i for i, token in enumerate(expected) if token in grouped.eos_token_ids]
    assert text == grouped.decode(expected[: ends[0]] if ends else expected)


def test_prompts_of_unequal_length_are_refused(grouped):
    """A position means the same in both prompts, or the pair is refused by name."""
    with pytest.raises(ValueError, match="the donor has 6 tokens and the target 5; patch between prompts of"):
        sweep_residual(grouped, [Pair("77*8=", "7+8=", 616, 15)], [0], [1])


def test_an_untrained_model_transfers_nothing(grouped):
    """On random weights no answer is transferred anywhere, and the gain over the controls is not past 0."""
    digits = [(a, b) for a in range(2, 8) for b in range(3, 8)]
    pairs = [Pair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    families = [str(sorted(pair)) for pair in digits]
    found = transfer(grouped.untrained(3), pairs, 2, 4, families)
    assert found.score < 0.1
    assert all(control.low <= 0 for control in found.controls)
    (grid,) = found.grids
    assert np.shape(grid.values) == (len(grid.rows), len(grid.columns)) == (4, 4)
    assert found.tokens == 2 * 5 * len(pairs)
    assert {example.counted for example in found.examples} <= {False, True}
