"""Greedy generation, with the model's own cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from lazarus_probe.subject.batches import Prompt, encode_all, rows_by_length
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.fast_gates import fast_gates
from lazarus_probe.subject.finite import is_finite, peak, refuse
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.subject.padded_rows import can_pad, padded_batches, start_padded
from lazarus_probe.subject.shared_prefix import run_shared_prefix, runs_in_parts
from lazarus_probe.tasks.numbers import CutText

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Tokens of a batch from which on the last position is run by itself: logits of all positions, which nothing reads, are
# 800 MB for 4,096 tokens and a vocabulary of 49,152, and a fifth of what a model of 135M parameters computes.
MANY = 512


def greedy(
    subject: Subject, prompts: Sequence[Prompt], max_tokens: int, stop: str | Sequence[str] = ()
) -> list[str]:
    """The most likely continuation of each prompt, token by token, in batches.

    Rows are of equal length, or padded where the model was seen to compute them as it does alone (`can_pad`).

    Inside `hooked(...)` the hooks act on every step.

    Args:
        subject: a model with a tokenizer.
        prompts: texts, or token ids.
        max_tokens: new tokens a prompt at most.
        stop: strings that end a row; the text is cut before the first of them. The end-of-sequence tokens of
            the tokenizer always end one.

    Returns:
        The new text of each prompt, in the order of `prompts`; one that `max_tokens` ended is a `CutText`, so that a
        number at its end is not taken for a whole one.

    Raises:
        ValueError: no prompts, an empty prompt, or `max_tokens` below 1.
        NotFinite: logits that no token can be chosen by.

    Example:
        >>> from lazarus_probe.subject import greedy
        >>> greedy(subject, ["7*8=", "7+8="], max_tokens=4)
        ['56', '15']
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; at least 1 is needed")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    encoded = encode_all(subject, prompts)
    texts = [""] * len(encoded)
    with fast_gates(subject):
        batches = list(_batches(subject, encoded))

        def run(indices: list[int]) -> list[str]:
            rows = [[int(token) for token in encoded[index]] for index in indices]
            return _greedy_batch(subject, rows, max_tokens, stops)

        for indices, of_batch in zip(batches, dealt(subject, batches, run), strict=True):
            for index, text in zip(indices, of_batch, strict=True):
                texts[index] = text
    return texts


def _batches(subject: Subject, encoded: Sequence[Sequence[int]]) -> Iterable[list[int]]:
    """The prompts that are run together: of equal length, or of any where the model allows it."""
    by_equal = rows_by_length(encoded)
    together = list(padded_batches(encoded))
    return together if len(together) < len(by_equal) and can_pad(subject) else by_equal


def _greedy_batch(
    subject: Subject, prompts: list[list[int]], max_tokens: int, stops: tuple[str, ...]
) -> list[str]:
    cache, tokens = _started(subject, prompts)
    new: list[list[int]] = [[] for _ in prompts]
    run = [[*prompt] for prompt in prompts]
    running = [True] * len(prompts)
    for _ in range(max_tokens):
        logits = last_logits(subject, tokens, cache)
        chosen, largest = mx.argmax(logits, axis=-1), peak(logits)
        mx.eval(chosen, largest)
        if not is_finite(largest):
            finite = np.array(mx.isfinite(logits).all(axis=-1))
            refuse(subject, mx.array([run[int(finite.argmin())]]))
        for row, token in enumerate(_ints(chosen)):
            run[row].append(token)
            if running[row] and token in subject.eos_token_ids:
                running[row] = False
            if running[row]:
                new[row].append(token)
                running[row] = not (stops and has_stop(subject.decode(new[row]), stops))
        if not any(running):
            break
        tokens = chosen[:, None]
    return [
        cut_at_stop(continuation(subject, prompt, of_row), stops, cut=going)
        for prompt, of_row, going in zip(prompts, new, running, strict=True)
    ]


def _started(subject: Subject, prompts: list[list[int]]) -> tuple[list[Any], mx.array]:
    """A cache with what was run of the rows already, and the tokens of the rows (B, L) after that.

    The tokens that all rows begin with are run once: worked examples before a question, or the start of a chat, are
    most of a prompt. Of many tokens all but the last are run without their logits. Hooks act on whole prompts.
    """
    if len({len(prompt) for prompt in prompts}) > 1:
        cache, tokens = start_padded(subject, prompts)
        in_parts = True
    else:
        tokens = mx.array(prompts)
        cache, length = run_shared_prefix(subject, tokens, tokens.shape[1] - 1)
        tokens, in_parts = tokens[:, length:], runs_in_parts(subject, cache)
    if in_parts and tokens.shape[1] > 1 and tokens.size > MANY:
        subject.model(tokens[:, :-1], cache=cache)
        tokens = tokens[:, -1:]
    return cache, tokens


def _ints(tokens: mx.array) -> list[int]:
    values: Any = tokens.tolist()
    return list(values)


def continuation(subject: Subject, prompt: list[int], new: list[int]) -> str:
    """The text of new tokens after a prompt's."""
    # Decoded with the prompt before it: some tokenizers drop the leading space of whatever they decode.
    before, full_text = subject.decode(prompt), subject.decode(prompt + new)
    return full_text[len(before) :] if full_text.startswith(before) else subject.decode(new)


def has_stop(text: str, stops: tuple[str, ...]) -> bool:
    """Whether a text holds one of the strings that end it."""
    return any(stop in text for stop in stops)


def cut_at_stop(text: str, stops: tuple[str, ...], *, cut: bool = False) -> str:
    """A text up to the first of the strings that end it; a `CutText` where none does and the limit `cut` it."""
    ends = [text.index(stop) for stop in stops if stop in text]
    if ends:
        return text[: min(ends)]
    return CutText(text) if cut else text
