"""Groups of sampled answers to the same prompts, and their log-probabilities under a model.

A group shares its prompt. So the prompt is run once, its keys and values are repeated for the group, and only the
answers are run row by row: while sampling, and in the forward pass of the loss, whose gradient flows through the keys
and values into the prompt. Models whose caches hold anything other than keys and values run every row in full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from lazarus_probe.anatomy.forward_pass import forward, keeps_keys, new_cache
from lazarus_probe.sweep.caches import Past, own_caches
from lazarus_probe.training.losses import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Generator

    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Rollout:
    """Answers to P prompts of L tokens, G per prompt; those of one prompt are adjacent.

    Attributes:
        prompts: the prompts (P, L).
        tokens: the sampled tokens (P * G, T), including an end token, right-padded with zeros.
        sampled: 1 where a token was sampled (P * G, T), 0 where it is padding.
        log_probs: of each sampled token, in nats (P * G, T); 0 at padding.
    """

    prompts: mx.array
    tokens: mx.array
    sampled: mx.array
    log_probs: mx.array


def shares_prefix(model: Any) -> bool:
    """Whether a model's cache holds keys and values only, which can be repeated for a group."""
    return all(keeps_keys(entry) for entry in new_cache(model))


def sample(
    subject: Subject, prompts: mx.array, group_size: int, max_tokens: int, temperature: float, key: mx.array
) -> Rollout:
    """Sample `group_size` answers to each prompt, until all have ended or have `max_tokens` tokens.

    Above four, the number of columns is rounded up to a power of two, at most `max_tokens`, to keep shapes few.

    Args:
        subject: the model.
        prompts: tokens (P, L) of prompts of equal length.
        group_size: answers per prompt.
        max_tokens: maximum length of an answer.
        temperature: divides the logits.
        key: the random key of the samples.
    """
    ends = mx.array(sorted(subject.eos_token_ids) or [-1])
    running = mx.ones((prompts.shape[0] * group_size,), mx.bool_)
    tokens, sampled, log_probs = [], [], []
    heads = _heads(subject, prompts, group_size)
    logits = next(heads)
    for step_key in mx.random.split(key, max_tokens):
        scaled = logits.astype(mx.float32) / temperature
        drawn = mx.where(running, mx.random.categorical(scaled, key=step_key), 0)
        tokens.append(drawn)
        sampled.append(running)
        log_probs.append(mx.where(running, _log_prob(scaled, drawn), 0.0))
        running = mx.logical_and(running, mx.all(drawn[:, None] != ends, axis=-1))
        mx.eval(running, drawn, log_probs[-1])
        if len(tokens) == max_tokens or not mx.any(running).item():
            break
        logits = heads.send(drawn)
    width = _rounded(len(tokens), max_tokens)
    columns = (tokens, [mask.astype(mx.float32) for mask in sampled], log_probs)
    return Rollout(prompts, *(_padded(mx.stack(column, axis=1), width) for column in columns))


def log_probs(
    subject: Subject, prompts: mx.array, tokens: mx.array, temperature: float, shared: bool
) -> mx.array:
    """Log-probabilities in nats (P * G, T) of answers at a temperature; differentiable.

    Args:
        subject: the model.
        prompts: tokens (P, L) of prompts of equal length.
        tokens: the answers (P * G, T), those of one prompt adjacent.
        temperature: divides the logits.
        shared: whether to run a prompt once for its group; see `shares_prefix`.
    """
    logits = (
        _shared_logits(subject.model, prompts, tokens) if shared else _whole_logits(subject, prompts, tokens)
    )
    rows, width = tokens.shape
    scaled = logits.astype(mx.float32).reshape(rows * width, -1) / temperature
    return _log_prob(scaled, tokens.reshape(-1)).reshape(rows, width)


def _shared_logits(model: Any, prompts: mx.array, tokens: mx.array) -> mx.array:
    size = tokens.shape[0] // prompts.shape[0]
    cache = own_caches(new_cache(model))
    first = mx.repeat(model(prompts, cache=cache)[:, -1:], size, axis=0)
    if tokens.shape[1] == 1:
        return first
    return mx.concatenate([first, model(tokens[:, :-1], cache=_repeated(cache, size))], axis=1)


def _whole_logits(subject: Subject, prompts: mx.array, tokens: mx.array) -> mx.array:
    sequences = mx.concatenate([_group(prompts, tokens), tokens[:, :-1]], axis=1)
    return forward(subject.model, sequences)[:, prompts.shape[1] - 1 :]


def _group(prompts: mx.array, tokens: mx.array) -> mx.array:
    return mx.repeat(prompts, tokens.shape[0] // prompts.shape[0], axis=0)


def _heads(subject: Subject, prompts: mx.array, size: int) -> Generator[mx.array, mx.array, None]:
    """Yields logits (P * size, V) of the next token; the sampled tokens are sent back."""
    if not shares_prefix(subject.model):
        rows = mx.repeat(prompts, size, axis=0)
        while True:
            drawn = yield forward(subject.model, rows)[:, -1]
            rows = mx.concatenate([rows, drawn[:, None]], axis=1)
    cache = own_caches(new_cache(subject.model))
    drawn = yield mx.repeat(subject.model(prompts, cache=cache)[:, -1], size, axis=0)
    cache = _repeated(cache, size)
    while True:
        drawn = yield subject.model(drawn[:, None], cache=cache)[:, -1]


def _repeated(cache: list[Past], size: int) -> list[Past]:
    """A cache with each row repeated `size` times."""
    return [Past(entry.window, *_rows(entry, size), offset=entry.offset) for entry in cache]


def _rows(entry: Past, size: int) -> tuple[mx.array | None, mx.array | None]:
    if entry.keys is None or entry.values is None:  # a layer that shares another one's keys
        return None, None
    return mx.repeat(entry.keys, size, axis=0), mx.repeat(entry.values, size, axis=0)


def _log_prob(scaled: mx.array, tokens: mx.array) -> mx.array:
    return -cross_entropy(scaled, tokens)


def _rounded(width: int, limit: int) -> int:
    return width if width <= 4 else min(limit, 1 << (width - 1).bit_length())


def _padded(columns: mx.array, width: int) -> mx.array:
    return mx.pad(columns, [(0, 0), (0, width - columns.shape[1])])
