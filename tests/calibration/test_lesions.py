"""A model whose blocks hold nothing learnt is credited with no layer, though its embeddings say much."""

from __future__ import annotations

import pytest
from lesions import (
    BEFORE,
    LESIONS,
    NOW,
    WORLDS,
    decodability_of_embeddings,
    emergence_of_embeddings,
    emergences_of_embeddings,
    read_as_before,
)
from rates import ALPHA, Rate

FAST, LONG, FEWER = 3, 100, 40


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """Fewer shuffles, and no curves, on which no verdict rests."""
    monkeypatch.setattr("lazarus_probe.introspection.held_out.DRAWS", 199)
    monkeypatch.setattr("lazarus_probe.introspection.emergence._curves", lambda *_: ())


@pytest.mark.long
def test_no_layer_is_credited_with_what_embeddings_say(compared):
    """Of 100 lesioned models of either kind, at most alpha have a number emerge in their layers."""
    alarms = dict.fromkeys(WORLDS, 0)
    for number, drawn in enumerate(emergences_of_embeddings(range(LONG)), 1):
        alarms = {world: alarms[world] + draw.alarms for world, draw in drawn.items()}
        print(number, list(alarms.values()), flush=True)
    for (lesion, label), count in alarms.items():
        compared(f"emergence of the {label} in {lesion}", "embeddings of all positions, lesioned models", Rate(count, LONG))


@pytest.mark.long
def test_controls_of_before_credit_layers(compared, monkeypatch):
    """With embeddings at the position read alone and no lesioned models, a number emerges in what computes nothing."""
    kept = Rate.of(lambda seed: emergence_of_embeddings(seed, "new_blocks", "product").alarms, FEWER)
    monkeypatch.setattr("lazarus_probe.introspection.emergence.read", read_as_before)
    lost = Rate.of(
        lambda seed: emergence_of_embeddings(seed, "new_blocks", "product").seen_by(*BEFORE, "token_embeddings", "layer_before").alarms,
        FEWER,
    )
    compared("emergence of the product in new_blocks", "embeddings of all positions, lesioned models", kept, lost)


def test_without_whole_embeddings_and_lesioned_models_layers_are_credited(compared):
    """After a declared layer, the controls of before support more than alpha, and those of now do not."""
    drawn = [decodability_of_embeddings(seed, lesion) for lesion in LESIONS for seed in range(FAST)]
    kept, lost = (
        Rate(sum(draw.seen_by(*names).alarms for draw in drawn), len(drawn)) for names in (NOW, BEFORE)
    )
    compared("decodability of the operation in both lesions", "embeddings of all positions, lesioned models", kept, lost)
