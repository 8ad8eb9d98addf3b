"""Whole forwards of many cells at once, for models and sites of which no part can be left out."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.sweep.branch import Batch
from lazarus_probe.sweep.caches import chosen
from lazarus_probe.sweep.edits import edit_taps
from lazarus_probe.taps import tapped


def run_full(anatomy: Anatomy, batch: Batch) -> tuple[mx.array, list[Any]]:
    """Logits (R, V) at the last position of the rows, and the model's own caches after them."""
    caches = new_cache(anatomy.model)
    with tapped(edit_taps(anatomy, batch.edits, batch.tokens.shape[1])):
        logits = anatomy.model(chosen(batch.tokens, batch.jobs.prompt), cache=caches)
    return logits[:, -1], caches
