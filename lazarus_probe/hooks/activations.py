"""Activations of many prompts as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.positions import check_range, put
from lazarus_probe.hooks.sites import Site, position_axis, resolve
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.finite import finite_at, refuse
from lazarus_probe.subject.subject import Subject

At = Literal["last", "mean"] | int | Sequence[int]
Activations = dict[Site, np.ndarray]


def collect(
    subject: Subject, prompts: Sequence[Prompt], sites: Sequence[Site | str], at: At = "last"
) -> Activations:
    """Values at sites for prompts of any lengths: one position a prompt, or the mean over its positions.

    Prompts run in batches of equal length, nothing is padded.

    Args:
        subject: the model.
        prompts: N texts or token id sequences.
        sites: where to look; only the blocks below the highest are computed.
        at: "last" position, "mean" over positions (the beginning-of-sequence token left out), one position
            for all prompts, or a sequence of N positions, one a prompt. Negative positions count from each
            prompt's end.

    Returns:
        By site, as requested, an array (N, ...) in float32: the site's shape without its position
        axis.

    Raises:
        ValueError: no prompts or sites, an unknown `at`, or values whose shape depends on the prompt's
            length.
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
    for indices, tokens in by_length(encoded):
        weights = _weights(
            subject, tokens, None if positions is None else [positions[index] for index in indices]
        )
        for site, values in _batch(subject, tokens, wanted, weights).items():
            for index, value in zip(indices, values, strict=True):
                rows[site][index] = value
    return {site: _stacked(site, rows[resolve(site, subject.anatomy)]) for site in requested}


def _positions(encoded: Sequence[Sequence[int]], at: At) -> list[int] | None:
    """The position of each prompt, from its start; None for the mean."""
    if isinstance(at, str):
        if at not in ("last", "mean"):
            raise ValueError(
                f"at {at!r} is unknown; give 'last', 'mean', a position, or one position a prompt"
            )
        return [len(ids) - 1 for ids in encoded] if at == "last" else None
    positions = (
        [int(at)] * len(encoded) if isinstance(at, int | np.integer) else [int(position) for position in at]
    )
    if len(positions) != len(encoded):
        raise ValueError(f"at has {len(positions)} positions for {len(encoded)} prompts; give one a prompt")
    for index, (ids, position) in enumerate(zip(encoded, positions, strict=True)):
        try:
            check_range((position,), len(ids))
        except IndexError as error:
            raise IndexError(f"prompt {index}: {error}") from None
    return [position % len(ids) for ids, position in zip(encoded, positions, strict=True)]


def _weights(subject: Subject, tokens: mx.array, positions: list[int] | None) -> mx.array | list[int]:
    """The position of each row, or for the mean the weight (B, L) of each of its positions."""
    if positions is not None:
        return positions
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    starts = mx.zeros(tokens.shape[:1]) if bos is None else (tokens[:, 0] == bos).astype(mx.float32)
    counted = put(mx.ones(tokens.shape), [0], 1, 1 - starts[:, None])
    totals = counted.sum(axis=1, keepdims=True)
    if not mx.all(totals > 0).item():
        raise ValueError("a prompt holds only the beginning-of-sequence token; there is nothing to average")
    return counted / totals


def _batch(
    subject: Subject, tokens: mx.array, wanted: Sequence[Site], weights: mx.array | list[int]
) -> dict[Site, np.ndarray]:
    values = _lazy_batch(subject, tokens, wanted, weights)
    good = {site: finite_at(value, site.kind) for site, value in values.items()}
    mx.eval(*values.values(), *good.values())
    for site in values:
        if not good[site].item():
            refuse(subject, tokens, f"values at {site}")
    return {site: np.array(value) for site, value in values.items()}


def _lazy_batch(
    subject: Subject, tokens: mx.array, wanted: Sequence[Site], weights: mx.array | list[int]
) -> dict[Site, mx.array]:
    # Returns before anything is evaluated: no value at all positions is held while the others are computed.
    with hooked(subject, wanted) as captures:
        forward(subject.model, tokens)
    return {site: _reduced(captures[site], position_axis(site), weights) for site in wanted}


def _reduced(value: mx.array, axis: int, weights: mx.array | list[int]) -> mx.array:
    value = mx.moveaxis(value, axis, 1).astype(mx.float32)
    if isinstance(weights, list):
        return value[mx.arange(value.shape[0]), mx.array(weights)]
    return (value * weights.reshape(*weights.shape, *[1] * (value.ndim - 2))).sum(axis=1)


def _stacked(site: Site, rows: list[Any]) -> np.ndarray:
    if len({row.shape for row in rows}) > 1:
        raise ValueError(
            f"{site} has a shape that depends on the prompt's length; use `trace` on equal lengths"
        )
    return np.stack(rows)
