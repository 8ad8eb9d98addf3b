"""A model whose blocks hold nothing learnt is credited with no layer, though its embeddings say much."""

from __future__ import annotations

import pytest
from lesions import (
    BEFORE,
    LABELS,
    LESIONS,
    NOW,
    decodability_of_embeddings,
    emergence_of_embeddings,
    emerges,
    sought,
)
from rates import Rate

from tests.cases import slow_except

DRAWS, LONG, FEWER = 3, 200, 100
GUARD = "embeddings of all positions, and lesioned models"


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Fewer shuffles, and no curves, on which no verdict rests."""
    monkeypatch.setattr("lazarus_probe.statistics.probes.held_out.DRAWS", 199)
    monkeypatch.setattr("lazarus_probe.introspection.probing.emergence._curves", lambda *_: ())


@pytest.mark.long
@pytest.mark.parametrize("lesion", LESIONS)
def test_no_layer_is_credited_with_what_embeddings_say(lesion, compared):
    """Of 200 lesioned models, at most alpha have a number emerge in their layers."""
    wrong = dict.fromkeys(LABELS, 0)
    for seed in range(LONG):
        wrong = {label: count + emerges(seed, lesion, label) for label, count in wrong.items()}
        print(lesion, seed, wrong, flush=True)
    for label, count in wrong.items():
        compared(f"{lesion}, {label}: emergence", GUARD, Rate(count, LONG))


@pytest.mark.parametrize("lesion", slow_except(LESIONS, LESIONS[-1]))
def test_the_search_alone_tells_what_does_not_emerge(lesion):
    """Where the search finds nothing against controls that need no model, the whole analysis finds nothing."""
    for seed, label in ((0, "product"), (1, "first operand")):
        found = emergence_of_embeddings(seed, lesion, label).measurement.details["found"]
        assert not found or sought(seed, lesion, label) is not None


def with_and_without(lesion, draws: int) -> tuple[Rate, Rate]:
    """How often the product is credited to the first layer, by the controls of now, and by those of before."""
    drawn = [decodability_of_embeddings(seed, lesion) for seed in range(draws)]
    kept, lost = (Rate(sum(draw.seen_by(*names).alarms for draw in drawn), draws) for names in (NOW, BEFORE))
    return kept, lost


@pytest.mark.slow
def test_without_whole_embeddings_and_lesioned_models_layers_are_credited(compared):
    """After a declared layer, the controls of before support more than alpha, and those of now do not.

    Those before were the embedding at the position that is read, and untrained models.
    """
    rates = [with_and_without(lesion, DRAWS) for lesion in LESIONS]
    kept, lost = (
        Rate(sum(each.alarms for each in both), len(LESIONS) * DRAWS) for both in zip(*rates, strict=True)
    )
    compared("both lesions, product: decodability", GUARD, kept, lost)


@pytest.mark.long
@pytest.mark.parametrize("lesion", LESIONS)
def test_the_same_of_many(lesion, compared):
    """The same in 100 draws: each has all its control models to run."""
    compared(f"{lesion}, product: decodability", GUARD, *with_and_without(lesion, FEWER))
