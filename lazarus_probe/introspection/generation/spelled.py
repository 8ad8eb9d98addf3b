"""One token for each of some words as they may follow prompts: all in the spelling that the model finds likeliest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.anatomy.forward_pass import log_softmax
from lazarus_probe.subject.batches import Prompt
from lazarus_probe.subject.last_position import next_token_logits
from lazarus_probe.subject.spellings import FORMS, exact, token_of, word_of

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class SpelledAfter:
    """One token for each word after its prompt.

    Attributes:
        tokens: (N,) ids.
        form: how all words are written, one of `FORMS`; None where each has its own, or was given with its space or in
            quotes.
    """

    tokens: tuple[int, ...]
    form: str | None


def spelled_after(subject: Subject, prompts: Sequence[Prompt], words: Sequence[str]) -> SpelledAfter:
    """One token for each of N words, after N prompts.

    Words that are compared must not differ by their space. So all are spelled in one form (`FORMS`) in which each is
    one token; where there are several such forms, in that with the highest log probability, summed over words. Where
    there is none, each word has its own likeliest spelling. ` Paris` and `'Paris'` are taken as they stand.

    Args:
        subject: the model.
        prompts: N texts, or token ids.
        words: N words.

    Raises:
        ValueError: a word is one token in no spelling.
    """
    of_word = {word: word_of(subject, word) for word in words}
    free = [word for word in words if exact(word) is None]
    by_form: dict[tuple[int, ...], str] = {}
    for name, form in FORMS.items():
        tokens = [of_word[w].ids[0] if exact(w) is not None else token_of(subject, form(w)) for w in words]
        if free and None not in tokens:
            by_form.setdefault(tuple(token for token in tokens if token is not None), name)
    if len(by_form) == 1:
        return SpelledAfter(*next(iter(by_form.items())))
    if not by_form and all(len(of_word[word].ids) == 1 for word in words):
        return SpelledAfter(tuple(of_word[word].ids[0] for word in words), None)
    candidates = [of_word[word].ids for word in words]
    chances = _chances(subject, prompts, candidates)
    if not by_form:
        return SpelledAfter(tuple(max(row, key=row.__getitem__) for row in chances), None)
    best = max(
        by_form, key=lambda tokens: sum(row[token] for row, token in zip(chances, tokens, strict=True))
    )
    return SpelledAfter(best, by_form[best])


def _chances(
    subject: Subject, prompts: Sequence[Prompt], candidates: Sequence[Sequence[int]]
) -> list[dict[int, float]]:
    """For each prompt, the log probability of each candidate to be its next token."""
    chances: list[dict[int, float]] = [{} for _ in prompts]
    for indices, logits in next_token_logits(subject, prompts):
        log_probs = np.array(log_softmax(logits))
        for row, index in zip(log_probs, indices, strict=True):
            chances[index] = {token: float(row[token]) for token in candidates[index]}
    return chances
