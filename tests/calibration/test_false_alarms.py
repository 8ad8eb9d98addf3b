"""How often each kind of claim is supported where it is false by construction: at most alpha of the time.

And without one of the guards it is more often: the suite would notice that a guard is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import draws
import pytest
from draws import Draw
from rates import Rate

from tests.cases import slow_except

FAST, SLOW, LONG = 10, 20, 200
FEWER = {"emergence": 4}  # draws that take longest

NULLS: dict[str, Callable[[int], Draw]] = {
    "decodability": draws.decodability,
    "causal_necessity": partial(draws.causal_necessity, per_kind=20, layers=3),
    "causal_sufficiency": draws.causal_sufficiency,
    "invariance": draws.invariance,
    "absence": draws.absence,
    "emergence": draws.emergence_of_chance,
    "training_effect": draws.training_effect,
}


@pytest.fixture(autouse=True)
def cheap(request, monkeypatch):
    """Fewer shuffles, and a short learning curve, on which no support rests; many draws are made as users make one."""
    if request.node.get_closest_marker("long") is None:
        monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.DRAWS", 199)
        monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.REPEATS", 1)


FEW_TRAINED = partial(draws.training_effect, pool=8)


def alarms(draw: Callable[[int], Draw], count: int) -> Rate:
    """How many of the draws are false alarms."""
    return Rate.of(lambda seed: draw(seed).alarms, count)


@pytest.mark.parametrize("draws", slow_except([FAST, SLOW], FAST))
@pytest.mark.parametrize("kind", NULLS)
def test_false_alarms(kind, draws, compared):
    """Of some draws in which a claim is false, at most a share alpha supports it."""
    draw = FEW_TRAINED if kind == "training_effect" else NULLS[kind]
    count = FEWER.get(kind, draws) if draws == FAST else draws
    compared(f"false by construction: {kind}", "all of its kind", alarms(draw, count))


@pytest.mark.long
@pytest.mark.parametrize("kind", NULLS)
def test_false_alarms_of_many(kind, compared):
    """Of 200 draws in which a claim is false, at most a share alpha supports it."""
    compared(f"false by construction: {kind}", "all of its kind", alarms(NULLS[kind], LONG))


def ungrouped(seed: int) -> Draw:
    return draws.decodability(seed, grouped=False).seen_by("majority", "shuffled_labels")


def grouped(seed: int) -> Draw:
    return draws.decodability(seed).seen_by("majority", "shuffled_labels")


def chance_alone(seed: int) -> Draw:
    return draws.decodability_of_tokens(seed).seen_by("majority", "shuffled_labels")


def no_layer_before(seed: int) -> Draw:
    return draws.emergence_of_tokens(seed).seen_by("majority", "shuffled_labels")


def no_other_pair(seed: int) -> Draw:
    return draws.causal_sufficiency(seed).seen_by("random_position")


def no_positive_control(seed: int) -> Draw:
    return draws.absence_unseen(seed).seen_by()


def few(seed: int) -> Draw:
    return draws.invariance(seed, prompts=16)


def not_significant(seed: int) -> Draw:
    """Takes a difference whose interval holds 0 for no difference."""
    drawn = few(seed)
    found = drawn.measurement
    none = replace(found, score=0.0, low=0.0, high=0.0)
    return Draw(drawn.claim, none if found.low <= 0 else found)


def layer_in_sample(seed: int) -> Draw:
    return draws.causal_necessity(seed, 20, 8, held_out=False).seen_by()


def layer_held_out(seed: int) -> Draw:
    return draws.causal_necessity(seed, 20, 8).seen_by()


GUARDS = {
    "groups": ("labels dealt to templates: decodability", grouped, ungrouped, 5),
    "the bag of tokens and untrained models": (
        "what one token says: decodability",
        draws.decodability_of_tokens,
        chance_alone,
        5,
    ),
    "the layer before and the controls of a probe": (
        "what one token says: emergence",
        draws.emergence_of_tokens,
        no_layer_before,
        5,
    ),
    "another pair": ("blind sources: causal_sufficiency", draws.causal_sufficiency, no_other_pair, 20),
    "a positive control": ("nothing can be read: absence", draws.absence_unseen, no_positive_control, 10),
    "an interval for an invariance": ("few prompts: invariance", few, not_significant, 20),
    "runs as units": (
        "labels swapped by run: training_effect",
        FEW_TRAINED,
        partial(FEW_TRAINED, by_run=False),
        60,
    ),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_lost_is_noticed(guard, compared):
    """Without the guard false alarms are certainly more than alpha; with it, on the same draws, they are not."""
    world, kept, lost, count = GUARDS[guard]
    compared(world, guard, alarms(kept, count), alarms(lost, count))


@pytest.mark.long
def test_a_layer_chosen_in_sample_is_noticed(compared):
    """The best of eight layers, chosen on the questions that test it, is supported more often than alpha allows."""
    world = "the best of eight layers: causal_necessity"
    kept, lost = alarms(layer_held_out, LONG), alarms(layer_in_sample, LONG)
    compared(world, "a layer chosen on other questions", kept, lost)
