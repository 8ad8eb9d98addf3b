"""Which answers break when a component's output is taken away.

Outputs are replaced, never weights: biases, mixtures of experts and quantised layers then need no special care. `mean`
and `resample` use values that occur in the model; `zero` is for comparison with published numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Intervention, mean, zero
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.generate import greedy

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Method = Literal["mean", "resample", "zero"]
METHODS: tuple[Method, ...] = ("mean", "resample", "zero")


@dataclass(frozen=True)
class Reference:
    """Values of a site over reference prompts: (N, D), a row for every position of every prompt."""

    site: Site
    values: NDArray[Any]


def reference(subject: Subject, prompts: Sequence[str], sites: Sequence[Site]) -> dict[Site, Reference]:
    """Values that sites take on reference prompts, to draw replacements from; the first token is left out.

    Raises:
        ValueError: no prompts, or prompts of a single token.
    """
    rows: dict[Site, list[NDArray[Any]]] = {site: [] for site in sites}
    for _, tokens in by_length(encode_all(subject, prompts)):
        found = trace(subject, tokens, capture=sites)
        for site in sites:
            values = np.array(found[site].astype(mx.float32))[:, 1:]
            rows[site].append(values.reshape(-1, values.shape[-1]))
    return {site: Reference(site, np.concatenate(values)) for site, values in rows.items()}


def ablate(site: Site, method: Method, known: Reference, seed: int = 0) -> Intervention:
    """Replace a site's output at every position, in the prompt and in what is generated.

    Args:
        site: whose output.
        method: `mean` of the reference rows, a random one of them (`resample`), or `zero`.
        known: the reference rows of that site.
        seed: of the rows drawn.

    Raises:
        ValueError: an unknown method.
    """
    if method == "zero":
        return zero(site)
    if method == "mean":
        return mean(site, known.values.mean(axis=0))
    if method == "resample":
        return Intervention(site, _drawn(known, np.random.default_rng(seed)), "all", "resample")
    raise ValueError(f"unknown method {method!r}; {one_of(method, METHODS)}")


def _drawn(known: Reference, rng: np.random.Generator) -> Callable[[mx.array], mx.array]:
    def edit(value: mx.array) -> mx.array:
        rows = rng.integers(len(known.values), size=value.shape[:-1])
        return mx.array(known.values[rows]).astype(value.dtype)

    return edit


def ablate_neurons(
    sites: Sequence[Site], count: int, known: dict[Site, Reference], seed: int = 0
) -> list[Intervention]:
    """Mean-ablate `count` neurons drawn at random over several layers: the control of one layer's `count` neurons."""
    rng = np.random.default_rng(seed)
    sizes = [known[site].values.shape[-1] for site in sites]
    chosen = rng.permutation(np.concatenate([np.full(size, i) for i, size in enumerate(sizes)]))[:count]
    edits = []
    for i, site in enumerate(sites):
        places = rng.choice(sizes[i], size=int((chosen == i).sum()), replace=False)
        mask = np.zeros(sizes[i], bool)
        mask[places] = True
        edits.append(
            Intervention(site, _masked(mask, known[site].values.mean(axis=0)), "all", "random neurons")
        )
    return edits


def _masked(mask: NDArray[Any], average: NDArray[Any]) -> Callable[[mx.array], mx.array]:
    where, new = mx.array(mask), mx.array(average)
    return lambda value: mx.where(where, new.astype(value.dtype), value)


def answers(
    subject: Subject,
    prompts: Sequence[Prompt],
    interventions: Sequence[Intervention] = (),
    max_tokens: int = 4,
) -> list[str]:
    """What the model says, greedily, under interventions.

    Raises:
        ValueError: logits that are not finite; the interventions are named with their sites.
    """
    with hooked(subject, interventions=interventions):
        return greedy(subject, prompts, max_tokens)
