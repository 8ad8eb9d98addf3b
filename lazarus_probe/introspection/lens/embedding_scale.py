"""What a model multiplies its token embeddings by before the first block, and putting another factor in its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lazarus_probe.hooks.interventions import Intervention, scale
from lazarus_probe.introspection.lens.read_out import own_embedding_scale

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def own_scale(subject: Subject) -> float | None:
    """The factor between the embedding module's output and what enters the first block, as found by running both.

    Gemma's is the square root of its width, as its code rounds it. None where there is no one factor, as when positions
    are added to the embeddings.
    """
    try:
        return round(own_embedding_scale(subject), 6)
    except ValueError:
        return None


def scale_in_place(subject: Subject, wanted: float) -> Intervention:
    """An edit under which the model scales its embeddings by `wanted` instead of by its own factor.

    Raises:
        ValueError: `wanted` is no positive finite number, or the model has no one factor to replace.
    """
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"embedding scale {wanted} is unusable; give a positive number")
    return scale("resid_pre.0", wanted / own_embedding_scale(subject))
