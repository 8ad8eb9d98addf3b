"""The share of a router's input that attention has written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.hooks.additivity import additivity
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics.bootstrap import cluster_bootstrap_means
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Curve, Example, Measurement, some_examples
from lazarus_probe.statistics.model_spread import over_untrained
from lazarus_probe.subject.batches import Prompt, encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def is_plain_sum(subject: Subject, prompt: Prompt) -> bool:
    """Whether every block adds the outputs of its attention and its MLP unchanged, as `written_by_attention` needs."""
    tokens = encode_all(subject, [prompt])
    sums = additivity(subject, tokens)
    plain = {"resid_pre": 1.0, "attn_out": 1.0, "mlp_out": 1.0}
    return all(block.holds and block.terms == plain for block in sums)


def written_by_attention(
    subject: Subject, prompts: Sequence[Prompt], store: ActivationStore | None = None
) -> NDArray[Any]:
    """(N, layers) the share of the residual stream between attention and MLP that attention wrote, at the last token.

    A part's share is its projection on the whole over the square of the whole, so the shares of embedding,
    attention and MLPs add up to 1. (A ratio of norms does not, and grows with depth on any model.)

    Raises:
        ValueError: blocks without attention and MLP.
    """
    layers = range(subject.num_layers)
    missing = [i for i in layers if not {"attn_out", "mlp_out"} <= set(kinds_at(subject.anatomy, i))]
    if missing:
        raise ValueError(f"block {missing[0]} of {subject.name} has no attention and MLP to separate")
    sites = [Site("resid_pre", 0), *(Site(kind, i) for i in layers for kind in ("attn_out", "mlp_out"))]
    activations = (store or ActivationStore()).get(subject, prompts, sites)
    stream = activations[Site("resid_pre", 0)].astype(np.float64)
    attention, shares = np.zeros_like(stream), []
    for layer in layers:
        wrote = activations[Site("attn_out", layer)]
        attention, stream = attention + wrote, stream + wrote
        shares.append((attention * stream).sum(-1) / (stream * stream).sum(-1))
        stream = stream + activations[Site("mlp_out", layer)]
    return np.stack(shares, axis=1)


def attention_share(
    subject: Subject,
    untrained: Iterable[Subject],
    prompts: Sequence[Prompt],
    groups: ArrayLike,
    layer: int,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """The mean share of a layer's router input that attention wrote, against several `untrained` models' there.

    Args:
        subject: the model, whose blocks are plain sums (`is_plain_sum`).
        untrained: at least three models of the same architecture, in which the share grows with depth too.
        prompts: N texts or token ids, read at their last token.
        groups: (N,) the independent unit of each prompt.
        layer: whose input.
        store: activations shared with other claims.
        seed: of the intervals.

    Raises:
        ValueError: as `written_by_attention`, fewer than two groups, or than three untrained models.
    """
    ours = written_by_attention(subject, prompts, store)
    theirs = np.stack([written_by_attention(model, prompts, store) for model in untrained])
    intervals = cluster_bootstrap_means(ours, groups, seed=seed)
    encoded = encode_all(subject, prompts)
    score, interval = float(ours[:, layer].mean()), intervals[layer]
    return Measurement(
        score=score,
        low=interval.low,
        high=interval.high,
        n=len(ours),
        groups=len(np.unique(np.asarray(groups))),
        unit="share of the router's input from attention",
        controls=(over_untrained(score, interval, theirs[:, :, layer].mean(axis=1).tolist()),),
        seed=seed,
        details={"layer": layer},
        tokens=sum(map(len, encoded)),
        examples=_examples(subject, encoded, ours[:, layer], theirs[:, :, layer].mean(axis=0)),
        curves=(_curve("score", ours, intervals), _curve("untrained", theirs.mean(axis=0))),
    )


def _examples(
    subject: Subject, encoded: Sequence[Sequence[int]], ours: NDArray[Any], theirs: NDArray[Any]
) -> tuple[Example, ...]:
    texts = [subject.decode(ids) for ids in encoded]
    shares = [f"share {value:.2f}" for value in ours]
    return some_examples(texts, [f"untrained share {value:.2f}" for value in theirs], shares, ours > theirs)


def _curve(name: str, values: NDArray[Any], intervals: Sequence[Interval] = ()) -> Curve:
    low, high = (tuple(getattr(interval, end) for interval in intervals) or None for end in ("low", "high"))
    means = tuple(map(float, values.mean(axis=0)))
    return Curve(name, tuple(range(len(means))), means, low, high)
