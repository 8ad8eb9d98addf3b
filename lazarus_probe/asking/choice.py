"""Forced choice: which of several words a model finds the likelier continuation of a prompt.

A model that puts `positive` above `negative` in every review tells them apart, whatever it would write by itself. A
word counts in all of its usual spellings: with and without a space before it, in lower case and capitalised. Its
probability is the sum of theirs, each the product over all of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.generation.continuation import joined, log_probabilities
from lazarus_probe.subject.spellings import written

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def spellings_of(word: str) -> tuple[str, ...]:
    """The spellings of a word that count as it; its own case is kept where it has capitals already.

    Raises:
        ValueError: nothing but spaces.
    """
    bare = word.strip()
    if not bare:
        raise ValueError(f"{word!r} is no candidate; give a word")
    return tuple(written(bare))


def choice_log_probabilities(
    subject: Subject, prompts: Sequence[str], candidates: Sequence[str]
) -> NDArray[np.float64]:
    """(N, C) the log probability of each of C candidate words after each of N prompts, over all of their spellings.

    A spelling that the tokenizer joins with the prompt's last word is no continuation of it, and is left out.

    Raises:
        ValueError: no prompts, fewer than two candidates, two that are one word, or a candidate of which no spelling
            continues a prompt.
    """
    words = [spellings_of(candidate) for candidate in candidates]
    if len(words) < 2 or len({spellings[0].lower() for spellings in words}) < len(words):
        raise ValueError(f"{list(candidates)} leaves nothing to choose; give at least two different words")
    sequences: dict[tuple[tuple[int, ...], int], int] = {}
    cells: list[list[int]] = []
    for prompt in prompts:
        for candidate, spellings in zip(candidates, words, strict=True):
            continued = _continued(subject, prompt, spellings)
            if not continued:
                raise ValueError(f"{candidate!r} does not continue {prompt!r} in any spelling")
            cells.append([sequences.setdefault(sequence, len(sequences)) for sequence in continued])
    values = log_probabilities(subject, list(sequences))
    of_cells = [float(np.logaddexp.reduce(values[numbers])) for numbers in cells]
    return np.array(of_cells).reshape(len(prompts), len(words))


def choose(subject: Subject, prompts: Sequence[str], candidates: Sequence[str]) -> list[str]:
    """For each prompt the likeliest of the candidates; as `choice_log_probabilities`, whose errors it raises."""
    best = choice_log_probabilities(subject, prompts, candidates).argmax(axis=1)
    return [candidates[index] for index in best]


def _continued(subject: Subject, prompt: str, spellings: Sequence[str]) -> list[tuple[tuple[int, ...], int]]:
    """The different sequences of tokens that a prompt and the spellings make, with where the continuation begins."""
    continued: dict[tuple[tuple[int, ...], int], None] = {}
    for spelling in spellings:
        try:
            tokens, start = joined(subject, prompt, spelling)
        except ValueError:
            continue
        if start:
            continued[tuple(tokens), start] = None
    return list(continued)
