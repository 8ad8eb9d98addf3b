"""What experts are used for, on routes made by hand so that the answer is known, and on routes of pure chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lazarus_probe.introspection.experts.routing import Routes
from lazarus_probe.introspection.experts.usage import cold_experts, predicted_experts, specialised_expert

LENGTH, PROMPTS, EXPERTS = 12, 40, 8


def made(layers: dict[int, Any], tokens: Any) -> Routes:
    """Routes of one expert a position, over prompts of 12 tokens after <bos>."""
    tokens = np.asarray(tokens)
    encoded = tuple((0, *row.tolist()) for row in tokens)
    numbers = np.repeat(np.arange(len(tokens)), LENGTH)
    places = np.tile(np.arange(LENGTH), len(tokens))
    chosen = {layer: np.asarray(rows).reshape(-1, 1) for layer, rows in layers.items()}
    return Routes(encoded, numbers, places, tokens.ravel(), dict.fromkeys(layers, EXPERTS), chosen)


def by_chance(seed: int, layers: tuple[int, ...] = (0, 1)) -> Routes:
    rng = np.random.default_rng(seed)
    size = PROMPTS * LENGTH
    drawn = {layer: rng.integers(0, EXPERTS, size) for layer in layers}
    return made(drawn, rng.integers(2, 40, (PROMPTS, LENGTH)))


def several(seed: int, layers: tuple[int, ...] = (0, 1)) -> list[Routes]:
    """Routes of untrained models, as it were."""
    return [by_chance(1000 * seed + i, layers) for i in range(5)]


def gains(found: Any) -> dict[str, Any]:
    return {control.name: control for control in found.controls}


def test_cold_experts_are_counted(grouped):
    """Two of eight experts that are never chosen make 0.25, and an even deal of choices leaves none cold."""
    rng = np.random.default_rng(0)
    layers = range(12)
    idle = made(
        {layer: rng.integers(0, EXPERTS - 2, PROMPTS * LENGTH) for layer in layers},
        rng.integers(2, 40, (PROMPTS, LENGTH)),
    )
    found = cold_experts(grouped, idle, several(1, tuple(layers)), least=0.1)
    assert found.score == 0.25
    assert {name: control.score for name, control in gains(found).items()} == {
        "even_routing": 0,
        "untrained": 0,
    }
    assert found.groups == 12
    assert found.grids[0].values[0][-2:] == (0.0, 0.0)


def test_even_routing_has_no_cold_experts(grouped):
    """Null: choices by chance leave no expert cold, and no gain over their controls."""
    found = cold_experts(grouped, by_chance(0, (0, 1, 2)), several(1, (0, 1, 2)), least=0.1)
    assert found.score == 0
    assert all(control.gain == 0 for control in found.controls)


def test_late_experts_that_follow_early_ones_are_predicted(grouped):
    """A late expert that is a fixed function of the early one is known; neither token nor majority tells it."""
    early = by_chance(0).chosen[0].ravel()
    turned = np.random.default_rng(1).permutation(EXPERTS)
    following = made({0: early, 1: turned[early]}, np.full((PROMPTS, LENGTH), 7))
    found = predicted_experts(grouped, following, several(2), np.arange(PROMPTS), 0, 1)
    assert found.score == 1
    assert all(gains(found)[name].low > 0.5 for name in ("majority", "token", "untrained"))


def test_late_experts_that_follow_the_token_are_the_tokens(grouped):
    """An expert that the token decides is known from the token as well: no gain over that control."""
    tokens = np.random.default_rng(0).integers(2, 2 + EXPERTS, (PROMPTS, LENGTH))
    chosen = (tokens - 2).ravel()
    found = predicted_experts(
        grouped, made({0: chosen, 1: chosen}, tokens), several(2), np.arange(PROMPTS), 0, 1
    )
    assert found.score == 1
    assert gains(found)["token"].gain == 0


def test_examples_are_the_text_up_to_a_position(grouped):
    """Each example is a prompt cut after the token at which the expert is, with that expert."""
    routes = by_chance(0)
    found = predicted_experts(grouped, routes, several(1), np.arange(PROMPTS), 0, 1)
    texts = {
        grouped.decode(routes.encoded[prompt][: position + 2]): expert
        for prompt, position, expert in zip(
            routes.prompts, routes.positions, routes.chosen[1].ravel(), strict=True
        )
    }
    assert len(found.examples) == 12
    assert all(str(texts[each.prompt]) == each.expected for each in found.examples)
    assert all((each.said == each.expected) == each.counted for each in found.examples)


def test_chance_predicts_nothing(grouped):
    """Null: choices by chance are not predicted better than by the most used expert."""
    found = predicted_experts(grouped, by_chance(0), several(1), np.arange(PROMPTS), 0, 1)
    assert found.score < 0.25
    assert gains(found)["majority"].low < 0.02


def test_an_expert_of_the_start_is_found(grouped):
    """Expert 5, at every first token and nowhere else, is found with share 1; shuffled, it is where chance has it."""
    places = np.tile(np.arange(LENGTH), PROMPTS)
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 40, (PROMPTS, LENGTH))
    chosen = np.where(places == 0, 5, rng.integers(0, 5, len(places)))
    found = specialised_expert(grouped, made({0: chosen}, tokens), by_chance(1), several(2), 0)
    assert found.details["expert"] == 5
    assert found.score == 1
    assert found.groups == PROMPTS // 2
    assert gains(found)["base_rate"].score == pytest.approx(2 / LENGTH)
    assert min(control.low for control in found.controls) > 0.4


def test_an_expert_of_the_position_gains_nothing_over_shuffled_tokens(grouped):
    """An expert that any token at the start calls is there in shuffled prompts too."""
    places = np.tile(np.arange(LENGTH), PROMPTS)
    rng = np.random.default_rng(0)
    routes = [
        made(
            {0: np.where(places < 2, 5, rng.integers(0, 5, len(places)))},
            rng.integers(2, 40, (PROMPTS, LENGTH)),
        )
        for _ in range(2)
    ]
    found = specialised_expert(grouped, *routes, several(2), 0)
    assert found.score == 1
    assert gains(found)["shuffled_tokens"].gain == 0


def test_chance_has_no_expert_of_the_start(grouped):
    """Null: over 60 draws by chance, an expert's gain over the base rate is called real in at most a tenth."""
    found = [
        specialised_expert(grouped, by_chance(seed), by_chance(seed + 100), several(seed + 200), 0, seed=seed)
        for seed in range(60)
    ]
    assert sum(gains(each)["base_rate"].low > 0 for each in found) <= 6


def test_too_few_prompts_are_refused(grouped):
    """Three prompts leave no halves to choose and to confirm on."""
    few = made({0: np.zeros(3 * LENGTH, int)}, np.full((3, LENGTH), 5))
    with pytest.raises(ValueError, match="3 prompts: give at least 4"):
        specialised_expert(grouped, few, few, [few], 0)
