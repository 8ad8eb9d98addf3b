"""The tokens that a word may be: with a space before it or without, and capitalised.

A model that has ` Paris` has not failed to say Paris. So a word stands for all of its spellings that are one token. A
text with white space at its beginning or end, or in quotes, stands for itself alone: ` Paris` with its space, and
`'Paris'` without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

QUOTES = "'\""
# In order: where one spelling must be chosen, an earlier one comes first.
FORMS: Mapping[str, Callable[[str], str]] = {
    "as written": lambda word: word,
    "with a space before it": lambda word: f" {word}",
    "capitalised": lambda word: word[:1].upper() + word[1:],
    "capitalised, with a space before it": lambda word: f" {word[:1].upper()}{word[1:]}",
}
# After this, tokenizers that put a space before every text put none.
ANCHOR = "\n"


@dataclass(frozen=True)
class Word:
    """A word and the tokens that it may be.

    Attributes:
        text: as it was given.
        tokens: its spellings that are one token, with their ids; each token once.
        longer: its spellings that are several tokens, which do not count.
    """

    text: str
    tokens: Mapping[str, int]
    longer: tuple[str, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The tokens."""
        return list(self.tokens.values())

    def likeliest(self, scores: NDArray[np.floating]) -> str:
        """The spelling with the highest of scores (V,) or (..., V), summed over all but the last axis."""
        totals = np.asarray(scores, np.float64).reshape(-1, np.shape(scores)[-1])[:, self.ids].sum(axis=0)
        return list(self.tokens)[int(totals.argmax())]


@dataclass(frozen=True)
class Spelled:
    """One token for each of several words.

    Attributes:
        tokens: by word.
        spellings: by word, how the token is written.
        form: how all words are written, one of `FORMS`; None where no form makes all of them one token, so that each
            has its own first one.
    """

    tokens: Mapping[str, int]
    spellings: Mapping[str, str]
    form: str | None

    @property
    def convention(self) -> str:
        """How the words are written, in words."""
        if self.form is not None:
            return f"words {self.form}"
        return f"words {', '.join(map(repr, self.spellings.values()))}: in no one spelling all are a token"


def exact(text: str) -> str | None:
    """The one spelling that a text stands for, if it says so by white space at an end, or by quotes around it."""
    if len(text) > 2 and text[0] == text[-1] and text[0] in QUOTES:
        return text[1:-1]
    return text if text != text.strip() else None


def written(word: str) -> list[str]:
    """All spellings of a word, in the order of `FORMS`."""
    one = exact(word)
    return [one] if one is not None else list(dict.fromkeys(form(word) for form in FORMS.values()))


def word_of(subject: Subject, text: str) -> Word:
    """A word with the tokens that it may be.

    Args:
        subject: a model with a tokenizer.
        text: the word; ` Paris` and `'Paris'` are those spellings alone.

    Raises:
        ValueError: the text is empty, or no spelling of it is one token; the message gives the pieces.

    Example:
        >>> from lazarus_probe.subject import word_of
        >>> word = word_of(subject, "Paris")
        >>> list(word.tokens), word.longer
        ([' Paris'], ('Paris',))
    """
    tokens: dict[str, int] = {}
    longer = []
    if not text:
        subject.single_token(text)  # says that it is empty
    for spelling in written(text):
        token = token_of(subject, spelling)
        if token is None:
            longer.append(spelling)
        elif token not in tokens.values():
            tokens[spelling] = token
    if not tokens:
        one = exact(text)
        alone = text if one is None else one
        try:  # a tokenizer that does not keep spaces, or lower case, still has one token for the word
            return Word(text, {alone: subject.single_token(alone)})
        except ValueError as error:
            raise ValueError(f"{error}{'' if one is not None else ' (no spelling of it is one)'}") from None
    return Word(text, tokens, tuple(longer))


def spellings(subject: Subject, word: str) -> list[int]:
    """The tokens of `word_of`; none where no spelling of the word is one token."""
    try:
        return word_of(subject, word).ids
    except ValueError:
        return []


def in_one_form(subject: Subject, words: Sequence[str]) -> Spelled:
    """One token for each of several words, all in the first spelling in which each is one token.

    So that no word differs from another by its space. Where there is no such form, each word has the first spelling
    that is one token.

    Raises:
        ValueError: a word is one token in no spelling.
    """
    free = [word for word in words if exact(word) is None]
    fixed = {word: word_of(subject, word) for word in words if exact(word) is not None}
    for name, form in FORMS.items():
        tokens = {word: token_of(subject, form(word)) for word in free}
        if None not in tokens.values():
            texts = {word: form(word) for word in free} | {w: next(iter(fixed[w].tokens)) for w in fixed}
            return Spelled(
                {word: fixed[word].ids[0] if word in fixed else tokens[word] for word in words},  # type: ignore[misc]
                {word: texts[word] for word in words},
                name if free else None,
            )
    chosen = {word: word_of(subject, word) for word in words}
    return Spelled(
        {word: chosen[word].ids[0] for word in words},
        {word: next(iter(chosen[word].tokens)) for word in words},
        None,
    )


def token_of(subject: Subject, spelling: str) -> int | None:
    """The token that is a spelling where a text goes on with it; None where that is several."""
    before = subject.pieces(ANCHOR)
    anchored = subject.pieces(ANCHOR + spelling)
    after = anchored[len(before) :] if anchored[: len(before)] == before else []
    # Alone, SentencePiece has ` Paris` for `Paris`: what a token says, it says after others.
    whole = subject.decode(before) + spelling
    candidates = (ids[0] for ids in (after, subject.pieces(spelling)) if len(ids) == 1)
    return next((token for token in candidates if subject.decode([*before, token]) == whole), None)
