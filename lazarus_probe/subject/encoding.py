"""From a text to the token ids that a model reads: the tokenizer's own, each special token once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from lazarus_probe.subject.chat_prompt import ChatPrompt

PROBES = ("a", "0", ".", " ")  # texts of which one at least has tokens under any tokenizer


class PromptWarning(UserWarning):
    """A tokenizer that does to every prompt what a reader of its last token would not expect.

    Example:
        >>> import warnings
        >>> from lazarus_probe.subject import PromptWarning
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("error", PromptWarning)
        ...     tokens = subject.encode("7*8=")
    """


@dataclass(frozen=True)
class AddedTokens:
    """The special tokens that a tokenizer puts around a text.

    Attributes:
        before: ids at its start, as a beginning-of-sequence token.
        after: ids at its end, as an end-of-sequence token.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


def added_tokens(tokenizer: Any) -> AddedTokens:
    """What a tokenizer puts around every text, found by encoding a short one with and without."""
    for text in PROBES:
        special, plain = _ids(tokenizer, text, special=True), _ids(tokenizer, text, special=False)
        start = _start_of(special, plain)
        if start is not None:
            return AddedTokens(tuple(special[:start]), tuple(special[start + len(plain) :]))
    return AddedTokens()


def encoded(tokenizer: Any, text: str, added: AddedTokens) -> list[int]:
    """Token ids of a text, with the special tokens that the tokenizer adds, each once.

    What a chat template wrote has them all. A plain text that has those of its beginning already, after nothing but
    white space, or those of its end, gets no second ones: so a template's text is read alike where it was pasted.
    """
    if isinstance(text, ChatPrompt):
        return _ids(tokenizer, text, special=False)
    ids = _ids(tokenizer, text, special=True)
    return ids[_once(tokenizer, ids, added)]


def offsets(tokenizer: Any, text: str, added: AddedTokens) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids that `encoded` gives, and the characters (start, end) of the text that each token covers.

    They are the tokenizer's own offsets where it has them, else they are found by decoding the first token, the first
    two, and so on. A special token that is not in the text covers none; several tokens of one character all cover it.

    Raises:
        ValueError: the tokenizer has no offsets, and its tokens do not decode to the text again.
    """
    special = not isinstance(text, ChatPrompt)
    ids = _ids(tokenizer, text, special)
    kept = _once(tokenizer, ids, added) if special else slice(None)
    own = getattr(tokenizer, "_tokenizer", tokenizer)  # mlx-lm's wrapper cannot be called
    if getattr(own, "is_fast", False):
        fast = own(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        if list(fast["input_ids"]) == ids:
            return ids[kept], _without_prefixes(tokenizer, text, ids, fast["offset_mapping"])[kept]
    return ids[kept], _decoded_offsets(tokenizer, text, ids, added if special else AddedTokens())[kept]


def _without_prefixes(
    tokenizer: Any, text: str, ids: Sequence[int], covered: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """A tokenizer's own offsets, but that SentencePiece's space before a text does not cover its first character."""
    starts = [*(int(start) for start, _ in covered[1:]), len(text)]
    cleaned = []
    for token, (start, end), after in zip(ids, covered, starts, strict=True):
        shares = end > after and bool(text[start:end].strip())
        cleaned.append((int(start), int(start if shares and not tokenizer.decode([token]).strip() else end)))
    return cleaned


def _decoded_offsets(
    tokenizer: Any, text: str, ids: Sequence[int], added: AddedTokens
) -> list[tuple[int, int]]:
    first, last = len(added.before), len(ids) - len(added.after)
    own = list(ids[first:last])
    whole = str(tokenizer.decode(own))
    # Some tokenizers put a space before a text, or drop its first one when they decode.
    shift = len(text) - len(text.lstrip()) - (len(whole) - len(whole.lstrip()))
    if whole.strip() != text.strip():
        raise ValueError(
            f"the tokenizer makes {whole[:40]!r} of the text {text[:40]!r}, and has no offsets: where in the text its "
            "tokens are cannot be found"
        )
    ends = [0]
    for count in range(1, len(own) + 1):
        part = commonprefix([whole, str(tokenizer.decode(own[:count]))])  # noqa: RUF071 - of characters, no paths
        ends.append(min(max(len(part) + shift, ends[-1]), len(text)))
    covered = []
    for token, start, end in zip(own, ends, ends[1:], strict=False):
        # Before its last token, a character of several does not decode to itself.
        broken = end == start < len(text) and bool(str(tokenizer.decode([token])).strip())
        covered.append((start, start + 1 if broken else end))
    return [(0, 0)] * first + covered + [(len(text),) * 2] * len(added.after)


def checked(text: str) -> str:
    """A text that has token ids at all.

    Raises:
        TypeError: it is no text.
        ValueError: it holds half of a surrogate pair, which is no character and has no bytes.
    """
    if not isinstance(text, str):
        raise TypeError(f"a prompt is a text; {text!r} is of type {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        lone = f"U+{ord(text[error.start]):04X}"
        raise ValueError(
            f"the text {text[:40]!a} holds {lone} at character {error.start}: half of a surrogate pair, which is no "
            "character; give text that UTF-8 can hold"
        ) from None
    return text


def pieces(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text alone, without any special token around it."""
    return _ids(tokenizer, checked(text), special=False)


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    # Not verbose: of a text that is too long for the model we speak ourselves.
    return [int(token) for token in tokenizer.encode(text, add_special_tokens=special, verbose=False)]


def _once(tokenizer: Any, ids: Sequence[int], added: AddedTokens) -> slice:
    """The part of a plain text's ids in which no special token at its ends is there twice."""
    before, after = len(added.before), len(added.after)
    own = ids[before : len(ids) - after]
    start = _start_of(own, added.before)
    begun = start is not None and not tokenizer.decode(own[:start]).strip()
    ended = after > 0 and tuple(own[-after:]) == added.after
    return slice(before if begun else 0, len(ids) - (after if ended else 0))


def _start_of(ids: Sequence[int], part: Sequence[int]) -> int | None:
    """Where a part first begins in a sequence of ids; None where it does not, or has no ids."""
    size = len(part)
    starts = range(len(ids) - size + 1) if size else ()
    return next((start for start in starts if list(ids[start : start + size]) == list(part)), None)
