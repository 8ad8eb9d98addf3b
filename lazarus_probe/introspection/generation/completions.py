"""Completions: tokens with their probabilities, greedily or sampled, with an edit of each row's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import keeps_keys, new_cache, repeat_rows
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import is_finite, peak, refuse
from lazarus_probe.subject.generate import continuation, cut_at_stop, greedy
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.tasks.arithmetic import parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# From the rows of a batch, and the length of their prompts in tokens, to what acts on them.
Edits = Callable[[Sequence[int], int], Sequence[Intervention]]


@dataclass(frozen=True)
class Generated:
    """What came after one prompt.

    Attributes:
        text: decoded after the prompt, special tokens included; a `CutText` where the limit ended it.
        tokens: T ids; an end-of-sequence token is left out.
        probabilities: (T,) of each token under the model at temperature 1, None where they were not requested.
        ended: whether the model ended it, rather than the limit.
    """

    text: str
    tokens: tuple[int, ...]
    probabilities: tuple[float, ...] | None
    ended: bool


def generate(
    subject: Subject,
    prompts: Sequence[Prompt],
    max_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    streams: Sequence[int] | None = None,
    edits: Edits | None = None,
    shared: bool = False,
    probabilities: bool = False,
    check: Callable[[], None] = lambda: None,
) -> list[Generated]:
    """Let the model continue each prompt, in batches of equal length and with its own cache.

    Args:
        subject: a model with a tokenizer.
        prompts: N texts, or token ids.
        max_tokens: new tokens a prompt at most.
        temperature: 0 takes the most probable token, above it tokens are drawn.
        seed: of the draws, which do not depend on what else is in a batch.
        streams: (N,) prompts of one number share their draws; by default each has its own.
        edits: what acts on a batch, in the prompt and while it goes on.
        shared: whether the edits leave all of a prompt but its last position alone, so that what is before it can be
            run once for all rows of the same prompt.
        probabilities: whether to keep those of the chosen tokens.
        check: called between two steps.

    Raises:
        ValueError: no prompts, an empty one, `max_tokens` below 1, or a temperature below 0 or not finite.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; at least 1 is needed")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}; give 0 for the most probable token, or more")
    encoded = encode_all(subject, prompts)
    draws = _draws(streams if streams is not None else range(len(encoded)), max_tokens, seed)

    def run(batch: tuple[list[int], mx.array]) -> list[tuple[Any, ...]]:
        indices, tokens = batch
        steps = _Steps(temperature, draws[indices], probabilities, check)
        cache, left = started(subject, tokens, shared)
        acting: AbstractContextManager[Any] = (
            nullcontext() if edits is None else hooked(subject, interventions=edits(indices, tokens.shape[1]))
        )
        with acting:
            rows = _batch(subject, tokens, _chosen(subject, tokens, left, cache, max_tokens, steps), steps)
        return [(row.text, row.tokens, row.probabilities, row.ended) for row in rows]

    completed: dict[int, Generated] = {}
    batches = list(by_length(encoded))
    for (indices, _), rows in zip(batches, dealt(subject, batches, run), strict=True):
        for index, (text, ids, by_token, ended) in zip(indices, rows, strict=True):
            completed[index] = Generated(
                text, tuple(ids), None if by_token is None else tuple(by_token), ended
            )
    return [completed[index] for index in range(len(encoded))]


@dataclass(frozen=True, eq=False)
class _Steps:
    """How the tokens of a batch are chosen: `draws` is (B, max_tokens) in [0, 1)."""

    temperature: float
    draws: NDArray[np.float64]
    probabilities: bool
    check: Callable[[], None]


def _draws(streams: Sequence[int], max_tokens: int, seed: int) -> NDArray[np.float64]:
    """(N, max_tokens) uniform numbers, a row of its own for every stream."""
    by_stream = {stream: np.random.default_rng((seed, stream)).random(max_tokens) for stream in set(streams)}
    return np.stack([by_stream[stream] for stream in streams]) if len(streams) else np.empty((0, max_tokens))


def started(subject: Subject, tokens: mx.array, shared: bool) -> tuple[list[Any], mx.array]:
    """A cache for rows of tokens (B, L), and those that are not in it yet.

    Where a row's start is `shared`, all but the last token of each different row have been run, if all that the model
    keeps is keys and values, whose rows can be repeated; else none.
    """
    cache = new_cache(subject.model)
    if not shared or tokens.shape[1] == 1 or not all(map(keeps_keys, cache)):
        return cache, tokens
    different, rows = np.unique(np.array(tokens), axis=0, return_inverse=True)
    subject.model(mx.array(different[:, :-1]), cache=cache)
    repeat_rows(cache, rows.reshape(-1))
    return cache, tokens[:, -1:]


def _batch(
    subject: Subject, tokens: mx.array, chosen: Iterator[tuple[list[int], list[float]]], steps: _Steps
) -> list[Generated]:
    prompts: Any = tokens.tolist()
    new: list[list[int]] = [[] for _ in prompts]
    chances: list[list[float]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    for ids, probabilities in chosen:
        for row, token in enumerate(ids):
            ended[row] = ended[row] or token in subject.eos_token_ids
            if not ended[row]:
                new[row].append(token)
                chances[row].append(probabilities[row])
        if all(ended):
            break
    return [
        Generated(
            cut_at_stop(continuation(subject, prompt, ids), (), cut=not end) if ids else "",
            tuple(ids),
            tuple(chance) if steps.probabilities else None,
            end,
        )
        for prompt, ids, chance, end in zip(prompts, new, chances, ended, strict=True)
    ]


def _chosen(
    subject: Subject, prefix: mx.array, tokens: mx.array, cache: list[Any], max_tokens: int, steps: _Steps
) -> Iterator[tuple[list[int], list[float]]]:
    """Each step's token of every row, and its probability; `tokens` are those of `prefix` not in the cache yet."""
    for step in range(max_tokens):
        logits = last_logits(subject, tokens, cache).astype(mx.float32)
        largest = peak(logits)
        mx.eval(logits, largest)
        if not is_finite(largest):
            refuse(subject, prefix)
        ids = (
            np.array(mx.argmax(logits, axis=-1))
            if steps.temperature == 0
            else _drawn(np.array(logits), steps.temperature, steps.draws[:, step])
        )
        chosen = mx.array(ids.astype(np.int32))
        yield ids.tolist(), _probabilities(logits, chosen) if steps.probabilities else [0.0] * len(ids)
        steps.check()
        tokens = chosen[:, None]
        prefix = mx.concatenate([prefix, tokens], axis=1)


def _drawn(logits: NDArray[np.float32], temperature: float, draws: NDArray[np.float64]) -> NDArray[np.intp]:
    """One token a row from logits (B, V), by inverting the distribution function at a number (B,) in [0, 1)."""
    with np.errstate(over="ignore"):
        scaled = (logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)) / temperature
    upto = np.exp(scaled).cumsum(axis=-1)
    return np.asarray((upto <= (draws * upto[:, -1])[:, None]).sum(axis=-1), dtype=np.intp)


def _probabilities(logits: mx.array, chosen: mx.array) -> list[float]:
    scores = mx.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
    return [float(value) for value in np.exp(np.array(scores, dtype=np.float64))]


def greedy_completions(
    subject: Subject,
    prompts: Sequence[Prompt],
    interventions: Sequence[Intervention] = (),
    max_tokens: int = 4,
) -> list[str]:
    """The most likely continuation of each prompt, under interventions.

    Raises:
        ValueError: logits that are not finite; the interventions are named with their sites.
    """
    with hooked(subject, interventions=interventions):
        return greedy(subject, prompts, max_tokens)


def same_answer(first: str, second: str) -> bool:
    """Whether two texts begin with the same number; where one begins with none, whether they are the same text."""
    numbers = parse_number(first), parse_number(second)
    return first.strip() == second.strip() if None in numbers else numbers[0] == numbers[1]
