"""An edit after which a model has no finite logits is refused: its greedy token would be number 0, again and again."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import Site


def guarded(edits: Sequence[Intervention]) -> list[Intervention]:
    """The edits, and a look at the logits of the last position of every call, which are left as they are.

    Raises, within the run:
        ValueError: a logit is not finite; the edits are named with their sites.
    """
    return [*edits, finite(_under(edits))]


def finite(under: str) -> Intervention:
    """A look at the logits of the last position of every call, which are left as they are.

    Args:
        under: what acts, and what would be right, as the error has it after "not finite".

    Raises, within the run:
        ValueError: a logit is not finite.
    """

    def check(logits: mx.array) -> mx.array:
        # Minus infinity is what some models mask tokens out with; NaN and plus infinity leave nothing to choose by.
        if not mx.all(logits < mx.inf).item():
            raise ValueError(f"the logits are not finite {under}")
        return logits

    return Intervention(Site("logits"), check, "last", "look")


def _under(edits: Sequence[Intervention]) -> str:
    if not edits:
        return "without any edit: the model's own weights or its float type overflow; load it in float32"
    named = ", ".join(dict.fromkeys(map(str, edits)))
    return f"under {named}: give a smaller edit, finite values, or a model in float32"
