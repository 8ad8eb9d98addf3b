"""A model whose blocks hold nothing learnt is credited with no layer, though its embeddings say much."""

from __future__ import annotations

from functools import partial

import pytest
from lesions import (
    BEFORE,
    LABELS,
    LESIONS,
    NOW,
    decodability_of_embeddings,
    emergence_of_embeddings,
    emerges,
    emerges_as_before,
    sought,
)
from rates import Rate

FAST, LONG, FEWER = 3, 200, 40
GUARD = "embeddings of all positions, and lesioned models"


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Fewer shuffles, and no curves, on which no verdict rests."""
    monkeypatch.setattr("lazarus_probe.introspection.held_out.DRAWS", 199)
    monkeypatch.setattr("lazarus_probe.introspection.emergence._curves", lambda *_: ())


@pytest.mark.long
@pytest.mark.parametrize("lesion", LESIONS)
def test_no_layer_is_credited_with_what_embeddings_say(lesion, compared, monkeypatch):
    """Of 200 lesioned models, at most alpha have a number emerge in their layers; by the controls of before, more.

    Those controls were the embeddings at the position read, and untrained models.
    """
    kept = dict.fromkeys(LABELS, 0)
    for seed in range(LONG):
        kept = {label: count + emerges(seed, lesion, label) for label, count in kept.items()}
        print(lesion, seed, kept, flush=True)
    monkeypatch.setattr("lazarus_probe.introspection.readings.embedding_features", lambda *_: ())
    monkeypatch.setattr("lazarus_probe.introspection.readings.LESIONS", ())
    lost = Rate.of(partial(emerges_as_before, lesion=lesion, label="product"), FEWER)
    print(lesion, lost, flush=True)
    for label, count in kept.items():
        world = f"{lesion}, {label}: emergence"
        compared(world, GUARD, Rate(count, LONG), lost if label == "product" else None)


@pytest.mark.parametrize("lesion", LESIONS)
def test_the_search_alone_tells_what_does_not_emerge(lesion):
    """Where the search finds nothing against controls that need no model, the whole analysis finds nothing."""
    for seed, label in ((0, "product"), (1, "first operand")):
        found = emergence_of_embeddings(seed, lesion, label).measurement.details["found"]
        assert not found or sought(seed, lesion, label) is not None


def test_without_whole_embeddings_and_lesioned_models_layers_are_credited(compared):
    """After a declared layer, the controls of before support more than alpha, and those of now do not."""
    drawn = [decodability_of_embeddings(seed, lesion) for lesion in LESIONS for seed in range(FAST)]
    kept, lost = (
        Rate(sum(draw.seen_by(*names).alarms for draw in drawn), len(drawn)) for names in (NOW, BEFORE)
    )
    compared("both lesions, operation: decodability", GUARD, kept, lost)
