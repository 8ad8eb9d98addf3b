"""Patching between prompts, against a loop of plain forwards."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.patching.answers import classify
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.introspection.patching.transfer import patch_pairs, patched_together, transfer
from lazarus_probe.subject.subject import Subject
from tests.tolerance import of_logits, sole_best

PAIR = PromptPair("7*8=", "7+8=", 56, 15)


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
    assert classify("94", "2,209", PromptPair("47*47=", "47+47=", 2209, 94)) == "full_transfer"


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
        patch_pairs(grouped, encode_pairs(grouped, [PromptPair("77*8=", "7+8=", 616, 15)]), [0], [1])


def test_an_untrained_model_transfers_nothing(grouped):
    """On random weights no answer is transferred anywhere, and the gain over the controls is not past 0."""
    digits = [(a, b) for a in range(2, 8) for b in range(3, 8)]
    pairs = [PromptPair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    families = [str(sorted(pair)) for pair in digits]
    parts = {"operands": [1, 3], "operator": [2]}
    found = transfer(grouped.untrained(3), pairs, 2, 4, families, parts=parts)
    assert found.score < 0.1
    assert len(found.controls) == 4
    assert all(control.low <= 0 for control in found.controls)
    (grid,) = found.grids
    assert np.shape(grid.values) == (len(grid.rows), len(grid.columns)) == (4, 4)
    assert found.tokens == 2 * 5 * len(pairs)
    assert {example.counted for example in found.examples} <= {False, True}


PAIRS = [
    PromptPair(f"{a}*{b}=", f"{c}+{d}=", a, c) for a, b, c, d in [(2, 3, 4, 5), (6, 7, 8, 9), (5, 2, 3, 8)]
]


@pytest.mark.parametrize("places", [[4], [1, 3], [-2, 2]])
def test_positions_patched_together_are_the_naive_loop(grouped, places):
    """What is said with several positions patched is what a loop of plain, cacheless forwards says, each put in."""
    said, targets = [], [pair.target for pair in PAIRS]
    for pair in PAIRS:
        expected = naive_patched_at(grouped, pair.source, pair.target, 2, places, 4)
        ends = [i for i, token in enumerate(expected) if token in grouped.eos_token_ids]
        said.append(grouped.decode(expected[: ends[0]] if ends else expected))
    # Pairs whose source's answer is what the loop says must transfer, unless it was said without the patch as well.
    whole = greedy_completions(grouped, targets)
    pairs = [
        PromptPair(pair.source, pair.target, text, "else") for pair, text in zip(PAIRS, said, strict=True)
    ]
    expected = [classify(*texts) == "full_transfer" for texts in zip(whole, said, pairs, strict=True)]
    assert patched_together(grouped, encode_pairs(grouped, pairs), 2, places).tolist() == expected


def naive_patched_at(subject, source, target, layer, positions, steps):
    """As `naive_patched`, at several positions of one block."""
    model, site = subject.model, Site("resid_post", layer)
    donor = trace(subject, source, capture=site)[site]
    tokens = subject.encode(target)
    places = [place % len(tokens) for place in positions]
    for _ in range(steps):
        h = model.model.embed_tokens(mx.array([tokens]))
        for i, block in enumerate(model.layers):
            h = block(h, "causal", None)
            if i == layer:
                for place in places:
                    h[:, place] = donor[:, place]
        logits = np.array(model.lm_head(model.model.norm(h))[0, -1])
        tokens.append(sole_best(logits, of_logits(subject, logits)))
    return tokens[-steps:]


def test_one_position_is_the_sweeps_cell(organism):
    """A part of one position transfers where the sweep over positions has it."""
    digits = [(a, b) for a in range(2, 8) for b in range(3, 8) if a * b != a + b]
    pairs = [PromptPair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    encoded = encode_pairs(organism, pairs)
    for layer, place in ((7, 4), (0, 2), (3, 1)):
        cell = patch_pairs(organism, encoded, [layer], [place]).transferred(layer, place)
        assert patched_together(organism, encoded, layer, [place]).tolist() == cell.tolist()


def test_parts_are_controls(organism):
    """Parts stand beside the other controls; one that holds the position claimed about, or none, is refused."""
    digits = [(a, b) for a in range(2, 8) for b in range(3, 8) if a * b != a + b]
    pairs = [PromptPair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in digits]
    families = [str(sorted(pair)) for pair in digits]
    found = transfer(organism, pairs, 7, 4, families, parts={"operands": [1, 3], "operator": [2]})
    assert [control.name for control in found.controls] == [
        "random_position",
        "other_pair",
        "operands",
        "operator",
    ]
    assert found.score > 0.9
    # After the last block nothing but the last position is read.
    assert [control.score for control in found.controls[2:]] == [0, 0]
    assert found.damage.low > 0.9
    for places in ([], [2, 4]):
        with pytest.raises(
            ValueError, match=r"part 'operands' is patched at \[.*\]: give other positions than 4"
        ):
            transfer(organism, pairs, 7, 4, families, parts={"operands": places})
    with pytest.raises(ValueError, match="a source has 7 tokens and its target 5"):
        patched_together(organism, encode_pairs(organism, [PromptPair("7*8*9=", "7+8=", 1, 2)]), 0, [1])


def test_what_all_prompts_begin_with_is_not_patched(organism):
    """Worked examples before a question are the same in all prompts: no position of theirs is swept or drawn."""
    shots = "11*3=33\n12*4=48\n"
    pairs = [
        PromptPair(f"{shots}{a}*{b}=", f"{shots}{a}+{b}=", a * b, a + b) for a, b in ((7, 8), (3, 9), (4, 6))
    ]
    last = len(organism.encode(pairs[0].target)) - 1
    shared = transfer(organism, pairs, 3, last, ["a", "b", "c"], max_tokens=6)
    assert len(shared.grids[0].columns) == 4
    plain = [PromptPair(f"{a}*{b}=", f"{a}+{b}=", a * b, a + b) for a, b in ((7, 8), (3, 9), (4, 6))]
    assert len(transfer(organism, plain, 3, 4, ["a", "b", "c"]).grids[0].columns) == 4
