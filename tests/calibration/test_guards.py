"""Worlds that brought wrong verdicts about: with their guard these are rare, and without it they come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import alike_models
import dealt_labels
import distractors
import failing_phrasings
import failing_slices
import few_runs
import leaking_pairs
import many_claims
import pytest
import short_of_rows
from rates import Rate

from lazarus_probe.claims import verdict
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.introspection.probing import inputs as readings
from lazarus_probe.statistics import null
from lazarus_probe.subject import control_models
from tests.cases import slow_except

LONG = 200
SHUFFLES = 199
Wrong = Callable[[int], bool]


@dataclass(frozen=True)
class World:
    """A world in which a verdict of a certain outcome is wrong, and what guards against it.

    Attributes:
        name: of the world, with the outcome that is wrong there, if it is not `supported`.
        guard: in words.
        kept: whether the draw of a seed is wrong with the guard.
        lost: whether it is wrong without it.
        fast: draws that show the difference in seconds; 0 leaves them to the long run.
        patches: attributes to be replaced while `lost` is drawn, if that is what takes the guard away.
    """

    name: str
    guard: str
    kept: Wrong
    lost: Wrong
    fast: int = 20
    patches: tuple[tuple[object, str, object], ...] = ()


def wrongly(draw: Callable[..., object], *arguments: object, **options: object) -> Wrong:
    """Whether a false claim is supported."""
    return lambda seed: draw(*arguments, seed, **options).alarms


def few(kind: str, name: str) -> World:
    return World(
        f"few runs of which a {few_runs.KINDS[kind].share:.0%} share differs: {kind}",
        f"an interval of bounded means, for {name}'s",
        wrongly(few_runs.few_runs, kind),
        wrongly(few_runs.few_runs, kind, interval=few_runs.INTERVALS[name]),
        fast=60,
    )


def alike(kind: str) -> World:
    return World(
        f"one more untrained model: {kind}",
        "five untrained models and their spread, for one",
        wrongly(alike_models.one_more, kind),
        wrongly(alike_models.one_more, kind, models=1),
        fast=60,
    )


def slices(kind: str) -> World:
    return World(
        f"7 of 72 slices fail: {kind}",
        "every slice measured, and the share that may fail bounded",
        wrongly(failing_slices.everywhere, kind),
        wrongly(failing_slices.everywhere, kind, every=False),
        fast=12 if kind in ("causal_sufficiency", "absence") else 0,
    )


def leaks(kind: str) -> World:
    return World(
        f"a*b and b*a in different groups: {kind}",
        "the check for leaks",
        partial(leaking_pairs.is_supported, kind),
        partial(leaking_pairs.is_supported, kind),
        fast=6,
        # Neither are lesioned models measured, which are no controls here: they would take most of the time.
        patches=((readings, "check_leaks", lambda *_: None), (control_models, "LESIONS", ())),
    )


def ceiling(kind: str) -> World:
    return World(
        f"a perfect distractor at 10 to 200 groups, not confounded: {kind}",
        "what a score could gain at all",
        partial(distractors.is_not_confounded, kind),
        partial(distractors.is_not_confounded, kind),
        fast=24,
        patches=((verdict, "_possible_gain", lambda _claim, _measurement, control: control.high),),
    )


def distractor(kind: str) -> World:
    return World(
        f"a perfect distractor at 10 to 200 groups: {kind}",
        "the bag of tokens",
        lambda seed: distractors.is_supported(kind, seed, "majority", "bag_of_tokens"),
        lambda seed: distractors.is_supported(kind, seed, "majority"),
        fast=24,
    )


def phrasings(kind: str) -> World:
    count, families = failing_phrasings.KINDS[kind]
    return World(
        f"a tenth of phrasings fails, of {count} with {families} families: {kind}",
        "phrasings and families as units, for families",
        wrongly(failing_phrasings.in_new_phrasings, kind),
        wrongly(failing_phrasings.in_new_phrasings, kind, crossed=False),
        fast=40,
    )


def short(kind: str) -> World:
    return World(
        f"readable, and too few rows, refuted: {kind}",
        "the learning curve",
        partial(short_of_rows.is_refuted, kind),
        partial(short_of_rows.is_refuted, kind, growth=False),
    )


def family(kind: str, outcome: Outcome) -> World:
    return World(
        f"any of {many_claims.CLAIMS} claims at their threshold {outcome}: {kind}",
        f"the family's correction of {outcome}",
        lambda seed: many_claims.any_is(outcome, kind, seed),
        lambda seed: many_claims.any_is(outcome, kind, seed, together=False),
        fast=60,
    )


def shuffles(kind: str) -> World:
    return World(
        f"labels dealt to groups: {kind}",
        "labels shuffled by group, for by row",
        wrongly(dealt_labels.shuffled, kind),
        wrongly(dealt_labels.shuffled, kind),
        fast=60,
        patches=((null, "group_permutations", dealt_labels.by_row),),
    )


WORLDS = [
    *(few(kind, name) for kind in few_runs.KINDS for name in few_runs.INTERVALS),
    *(alike(kind) for kind in ("decodability", "emergence")),
    *(slices(kind) for kind in failing_slices.KINDS),
    *(leaks(kind) for kind in ("decodability", "emergence")),
    *(make(kind) for make in (ceiling, distractor) for kind in distractors.KINDS),
    *(phrasings(kind) for kind in failing_phrasings.KINDS),
    *(short(kind) for kind in short_of_rows.KINDS),
    *(
        family(kind, outcome)
        for kind in many_claims.KINDS
        for outcome in (Outcome.REFUTED, Outcome.SUPPORTED)
    ),
    *(shuffles(kind) for kind in ("decodability", "emergence")),
]


def named(world: World) -> str:
    return f"{world.name}, {world.guard}"


def rates(world: World, draws: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Rate, Rate]:
    """How often verdicts are wrong with the guard and, on the same draws, without it."""
    monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.DRAWS", SHUFFLES)
    kept = Rate.of(world.kept, draws)
    for patch in world.patches:
        monkeypatch.setattr(*patch)
    return kept, Rate.of(world.lost, draws)


IN_SOME_DRAWS = [world for world in WORLDS if world.fast]
FIRST_OF_ITS_GUARD = {world.guard: world for world in reversed(IN_SOME_DRAWS)}.values()


@pytest.mark.parametrize("world", slow_except(IN_SOME_DRAWS, *FIRST_OF_ITS_GUARD), ids=named)
def test_a_guard_is_needed(world, compared, monkeypatch):
    """In some draws a wrong verdict comes at most a share alpha of the time, and certainly more without the guard."""
    compared(world.name, world.guard, *rates(world, world.fast, monkeypatch))


@pytest.mark.long
@pytest.mark.parametrize("world", WORLDS, ids=named)
def test_a_guard_is_needed_in_many_draws(world, compared, monkeypatch):
    """The same in 200 draws."""
    compared(world.name, world.guard, *rates(world, LONG, monkeypatch))
