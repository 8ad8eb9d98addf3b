"""Activations of many prompts as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.model_sites import resolve
from lazarus_probe.hooks.positions import check_range, put
from lazarus_probe.hooks.sites import Site, position_axis
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.fast_gates import fast_gates
from lazarus_probe.subject.finite import finite_at, refuse
from lazarus_probe.subject.shared_prefix import run_shared_prefix
from lazarus_probe.subject.spans import Span
from lazarus_probe.subject.subject import Subject

# Sites whose value at a position has the same shape wherever a run begins.
OF_ITS_POSITION = (
    *("embed", "resid_pre", "resid_mid", "resid_post", "logits"),
    *("queries", "head_out", "attn_out", "mlp_out", "neurons"),
)

At = Literal["last", "mean"] | int | Sequence[int] | Sequence[Span] | Sequence[Sequence[int]]
Places = list[int] | list[list[int]] | list[Span]
Activations = dict[Site, np.ndarray]


def collect(
    subject: Subject, prompts: Sequence[Prompt], sites: Sequence[Site | str], at: At = "last"
) -> Activations:
    """Values at sites for prompts of any lengths: one position a prompt, several, or the mean over some or all.

    Prompts run in batches of equal length, nothing is padded.

    Args:
        subject: the model.
        prompts: N texts or token id sequences.
        sites: where to look; only the blocks below the highest are computed.
        at: "last" position, "mean" over positions (the beginning-of-sequence token left out), one position
            for all prompts, or a sequence of N positions, one a prompt. Negative positions count from each
            prompt's end. Or N spans (`subject.span`), each read as the mean over its tokens; or N sequences of K
            positions, as many a prompt, each of which is kept.

    Returns:
        By site, as requested, an array (N, ...) in float32: the site's shape without its position
        axis; with K positions a prompt (N, K, ...).

    Raises:
        ValueError: no prompts or sites, an unknown `at`, positions that are more for one prompt than for another, or
            values whose shape depends on the prompt's length.
        IndexError: a layer that does not exist, or a position that some prompt does not have.
        NotFinite: a value is not finite; the error names the weight or the site where that begins.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import mlp_out, resid_post
        >>> prompts = ["7*8=", "What is seven times eight?"]
        >>> activations = collect(subject, prompts, [resid_post(4), mlp_out(4)], at="mean")
        >>> activations[resid_post(4)].shape
        (2, 128)
    """
    requested = [Site.parse(site) for site in sites]
    if not requested:
        raise ValueError("no sites to collect; give at least one, such as 'resid_post.0'")
    wanted = list(dict.fromkeys(resolve(site, subject.anatomy) for site in requested))
    encoded = encode_all(subject, prompts)
    positions = _positions(encoded, at)
    rows: dict[Site, list[Any]] = {site: [None] * len(encoded) for site in wanted}
    with fast_gates(subject, _blocks_below(subject, wanted)):
        batches = list(by_length(encoded))

        def run(batch: tuple[list[int], mx.array]) -> list[np.ndarray]:
            indices, tokens = batch
            places: Any = None if positions is None else [positions[index] for index in indices]
            return _batch(subject, tokens, wanted, _weights(subject, tokens, places))

        for (indices, _), by_site in zip(batches, dealt(subject, batches, run), strict=True):
            for site, values in zip(wanted, by_site, strict=True):
                for index, value in zip(indices, values, strict=True):
                    rows[site][index] = value
    return {site: _stacked(site, rows[resolve(site, subject.anatomy)]) for site in requested}


def plain_at(at: At) -> Any:
    """`at` as plain data that determines it; spans of one token each are positions."""
    if isinstance(at, str):
        return at
    if isinstance(at, int | np.integer):
        return int(at)
    places: list[Any] = list(at)
    if not any(isinstance(place, Span) for place in places):
        return [list(map(int, place)) if np.ndim(place) else int(place) for place in places]
    if all(isinstance(place, Span) and len(place) == 1 for place in places):
        return [place.first for place in places]
    return [str(place) for place in places]


def _positions(encoded: Sequence[Sequence[int]], at: At) -> Places | None:
    """The positions of each prompt, from its start; None for the mean over all."""
    if isinstance(at, str):
        if at not in ("last", "mean"):
            raise ValueError(
                f"at {at!r} is unknown; give 'last', 'mean', a position, or one position a prompt"
            )
        return [len(ids) - 1 for ids in encoded] if at == "last" else None
    places: list[Any] = [at] * len(encoded) if isinstance(at, int | np.integer) else list(at)
    if len(places) != len(encoded):
        raise ValueError(f"at has {len(places)} positions for {len(encoded)} prompts; give one a prompt")
    kinds = {_kind(place) for place in places}
    if len(kinds) > 1:
        raise ValueError(f"at mixes {' and '.join(sorted(kinds))}; give all prompts the same")
    counts = {len(place) for place in places} if kinds == {"several positions"} else {1}
    if len(counts) > 1 or counts == {0}:
        raise ValueError(f"at has {min(counts)} to {max(counts)} positions a prompt; give as many for each")
    for index, (ids, place) in enumerate(zip(encoded, places, strict=True)):
        try:
            check_range(_numbers(place), len(ids))
        except IndexError as error:
            raise IndexError(f"prompt {index}: {error}") from None
    if kinds == {"spans"}:
        return places
    if kinds == {"several positions"}:
        return [[int(p) % len(ids) for p in place] for ids, place in zip(encoded, places, strict=True)]
    return [int(place) % len(ids) for ids, place in zip(encoded, places, strict=True)]


def _kind(place: Any) -> str:
    if isinstance(place, Span):
        return "spans"
    return "several positions" if isinstance(place, Sequence | np.ndarray) else "positions"


def _numbers(place: Any) -> tuple[int, ...]:
    if isinstance(place, Span):
        return place.first, place.last
    return tuple(map(int, place)) if isinstance(place, Sequence | np.ndarray) else (int(place),)


def _weights(subject: Subject, tokens: mx.array, places: Places | None) -> mx.array | Places:
    """The positions of each row, or for a mean the weight (B, L) of each of its positions."""
    if places is not None and not isinstance(places[0], Span):
        return places
    if places is not None:
        spans: Any = places
        weights = np.zeros(tokens.shape, np.float32)
        for row, place in enumerate(spans):
            weights[row, place.start : place.stop] = 1 / len(place)
        return mx.array(weights)
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    starts = mx.zeros(tokens.shape[:1]) if bos is None else (tokens[:, 0] == bos).astype(mx.float32)
    counted = put(mx.ones(tokens.shape), [0], 1, 1 - starts[:, None])
    totals = counted.sum(axis=1, keepdims=True)
    if not mx.all(totals > 0).item():
        raise ValueError("a prompt holds only the beginning-of-sequence token; there is nothing to average")
    return counted / totals


def _batch(
    subject: Subject, tokens: mx.array, wanted: Sequence[Site], weights: mx.array | Places
) -> list[np.ndarray]:
    values = _lazy_batch(subject, tokens, wanted, weights)
    good = {site: finite_at(value, site.kind) for site, value in values.items()}
    mx.eval(*values.values(), *good.values())
    for site in values:
        if not good[site].item():
            refuse(subject, tokens, f"values at {site}")
    return [np.array(values[site]) for site in wanted]


def _blocks_below(subject: Subject, wanted: Sequence[Site]) -> int:
    """How many blocks the highest site is above: all of them are computed for it."""
    return max(
        subject.num_layers if site.layer is None and site.kind != "embed" else site.layer or 0
        for site in wanted
    )


def _lazy_batch(
    subject: Subject, tokens: mx.array, wanted: Sequence[Site], weights: mx.array | Places
) -> dict[Site, mx.array]:
    # Returns before anything is evaluated: no value at all positions is held while the others are computed.
    cache, start = None, 0
    if isinstance(weights, list) and all(site.kind in OF_ITS_POSITION for site in wanted):
        places = np.array(weights)
        cache, start = run_shared_prefix(subject, tokens, min(int(places.min()), tokens.shape[1] - 1))
        weights = (places - start).tolist()
    with hooked(subject, wanted) as captures:
        if start:
            subject.model(tokens[:, start:], cache=cache)
        else:
            forward(subject.model, tokens)
    return {site: _reduced(captures[site], position_axis(site), weights) for site in wanted}


def _reduced(value: mx.array, axis: int, weights: mx.array | Places) -> mx.array:
    value = mx.moveaxis(value, axis, 1).astype(mx.float32)
    if isinstance(weights, list):
        places: Any = mx.array(weights)
        rows = mx.arange(value.shape[0])
        return value[rows if places.ndim == 1 else rows[:, None], places]
    return (value * weights.reshape(*weights.shape, *[1] * (value.ndim - 2))).sum(axis=1)


def _stacked(site: Site, rows: list[Any]) -> np.ndarray:
    if len({row.shape for row in rows}) > 1:
        raise ValueError(
            f"{site} has a shape that depends on the prompt's length; use `trace` on equal lengths"
        )
    return np.stack(rows)
