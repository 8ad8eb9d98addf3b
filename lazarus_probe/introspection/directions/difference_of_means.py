"""Directions between prompts: the difference of their mean states (Marks & Tegmark 2023, arXiv:2310.06824)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.directions.direction_file import Direction

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def difference_of_means(
    subject: Subject, first: Sequence[str], second: Sequence[str], site: Site
) -> NDArray[np.float64]:
    """(D,) the mean state of the first prompts at the last position minus that of the second.

    Raises:
        ValueError: no prompts on a side.
    """
    means = [
        collect(subject, prompts, [site])[site].astype(np.float64).mean(axis=0) for prompts in (first, second)
    ]
    return np.asarray(means[0] - means[1])


def contrast_direction(
    subject: Subject,
    positive: Sequence[str],
    negative: Sequence[str],
    layer: int,
    *,
    name: str = "",
    label_positive: str = "positive",
    label_negative: str = "negative",
) -> Direction:
    """The mean state of the positive prompts minus that of the negative ones, at the last position after a block.

    Args:
        subject: the model.
        positive: the prompts that the direction points to.
        negative: those that it points away from.
        layer: the block.
        name: of the direction.
        label_positive: label of `positive`.
        label_negative: label of `negative`.

    Raises:
        ValueError: no prompts on a side, equal means, or a model with several residual streams.
    """
    if subject.anatomy.stream_axis is not None:
        raise ValueError(f"{subject.name} has several residual streams; a direction is of one")
    site = resid_post(layer)
    states = collect(subject, [*positive, *negative], [site])[site].astype(np.float64)
    first, second = states[: len(positive)].mean(axis=0), states[len(positive) :].mean(axis=0)
    # The same prompts may differ by rounding, as rows of one batch do: that is not a direction.
    same = sorted(map(str, positive)) == sorted(map(str, negative))
    if same or np.allclose(first, second, rtol=0, atol=1e-6 * np.abs(states).max()):
        raise ValueError(
            "the positive and the negative prompts have the same mean state; give prompts that differ"
        )
    vector = (first - second).astype(np.float32)
    norms = [float(np.linalg.norm(mean)) for mean in (first, second)]
    return Direction(
        vector,
        layer,
        name=name,
        label_positive=label_positive,
        label_negative=label_negative,
        model_id=subject.name,
        method="difference_of_means",
        extra={
            "positive_prompt": positive[0] if len(positive) == 1 else list(positive),
            "negative_prompt": negative[0] if len(negative) == 1 else list(negative),
            "norm": float(np.linalg.norm(vector.astype(np.float64))),
            "cosine_similarity": float(first @ second / (norms[0] * norms[1])),
            "num_positive": len(positive),
            "num_negative": len(negative),
            "state_norm": float(np.linalg.norm(states, axis=1).mean()),
            "fingerprint": subject.fingerprint,
        },
    )
