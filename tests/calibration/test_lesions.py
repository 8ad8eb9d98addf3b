"""A model whose blocks hold nothing learnt is credited with no layer, though its embeddings say much."""

from __future__ import annotations

import pytest
from lesions import BEFORE, LESIONS, NOW, WORLDS, decodability_of_embeddings, emergence_of_embeddings

from lazarus_probe.statistics import exact

ALPHA = 0.05
FAST, LONG = 3, 100


def count(draws, name: str, rows: int) -> int:
    """How many draws are supported, printed with the exact interval of their share."""
    alarms = sum(draw.alarms for draw in draws)
    interval = exact(alarms, rows)
    print(f"{name}: {alarms} of {rows} supported, [{interval.low:.3f}, {interval.high:.3f}]")
    return alarms


@pytest.mark.long
@pytest.mark.parametrize(("lesion", "label"), WORLDS)
def test_no_layer_is_credited_with_what_embeddings_say(lesion, label):
    """Of 100 lesioned models, at most alpha have the number emerge in their layers."""
    drawn = [emergence_of_embeddings(seed, lesion, label) for seed in range(LONG)]
    assert count(drawn, f"{lesion}, {label}", LONG) <= ALPHA * LONG


def test_without_whole_embeddings_and_lesioned_models_layers_are_credited(monkeypatch):
    """After a declared layer, the controls of before support more than alpha, and those of now do not."""
    monkeypatch.setattr("lazarus_probe.introspection.held_out.DRAWS", 99)
    drawn = [decodability_of_embeddings(seed, lesion) for lesion in LESIONS for seed in range(FAST)]
    lost = count([draw.seen_by(*BEFORE) for draw in drawn], "controls before", len(drawn))
    kept = count([draw.seen_by(*NOW) for draw in drawn], "controls now", len(drawn))
    assert exact(lost, len(drawn)).low > ALPHA
    assert exact(kept, len(drawn)).low <= ALPHA
