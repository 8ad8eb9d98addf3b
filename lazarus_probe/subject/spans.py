"""The tokens of a part of a prompt: of a number, a word or a name, which may be several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Span:
    """The tokens of a part of a prompt.

    Attributes:
        start: position of the first, counted from the prompt's first token, special tokens included.
        stop: position after the last.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.sites import resid_post
        >>> from lazarus_probe.subject import Span
        >>> span = Span(1, 3)
        >>> span.first, span.last, span.positions
        (1, 2, (1, 2))
        >>> collect(subject, ["12*34="], [resid_post(0)], at=[span])[resid_post(0)].shape  # the mean over the span
        (1, 128)
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        """Refuse what holds no token."""
        if not 0 <= self.start < self.stop:
            raise ValueError(
                f"a span from {self.start} to {self.stop} holds no token; give 0 <= start < stop"
            )

    @property
    def first(self) -> int:
        """The position of its first token."""
        return self.start

    @property
    def last(self) -> int:
        """The position of its last token, which has read all of the part."""
        return self.stop - 1

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions of all of its tokens, as `positions=` of a trace, an intervention or a sweep takes them."""
        return tuple(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start


def span(subject: Subject, prompt: str, part: str, which: int | None = None) -> Span:
    """The tokens of a part of a prompt, found by the characters that each token covers.

    This holds for any tokenizer: one that splits a number into digits, or joins it with the space before it. White
    space that a token covers next to the part is no matter; anything else is.

    Args:
        subject: a model with a tokenizer.
        prompt: a text, or what a chat template wrote (`in_chat`).
        part: a text in it.
        which: the first time that it occurs is 0, the last -1; needed where it occurs more than once.

    Raises:
        ValueError: the part is empty, is not in the prompt or in it several times, or shares a token with other text
            than white space.
        IndexError: it does not occur that often.

    Example:
        >>> from lazarus_probe.subject import span
        >>> tokens = subject.encode("What is 17 times 3?")
        >>> where = span(subject, "What is 17 times 3?", "17")
        >>> subject.decode(tokens[where.start : where.stop]).strip()
        '17'
    """
    starts = [match.start() for match in re.finditer(f"(?={re.escape(part)})", prompt)] if part else []
    if not starts:
        raise ValueError(f"{part!r} is not in the prompt {prompt[:60]!r}; give a part of its text")
    if which is None and len(starts) > 1:
        raise ValueError(
            f"{part!r} is {len(starts)} times in the prompt {prompt[:60]!r}; say which: 0 is the first, -1 the last"
        )
    if which is not None and not -len(starts) <= which < len(starts):
        raise IndexError(
            f"{part!r} is {len(starts)} times in the prompt {prompt[:60]!r}; which is {which}, and 0 is the first"
        )
    start = starts[which or 0]
    return spans(subject, prompt, [(start, start + len(part))])[0]


def spans(subject: Subject, prompt: str, characters: Sequence[tuple[int, int]]) -> list[Span]:
    """The tokens of several parts of a prompt, given by their characters (start, end).

    Raises:
        ValueError: a part is empty or outside of the prompt, or shares a token with other text than white space.
    """
    _, covered = subject.offsets(prompt)
    return [_span(subject, prompt, covered, part) for part in characters]


def _span(
    subject: Subject,
    prompt: str,
    covered: Sequence[tuple[int, int]],
    part: tuple[int, int],
) -> Span:
    start, end = part
    if not 0 <= start < end <= len(prompt):
        raise ValueError(
            f"characters {start} to {end} are no part of the prompt {prompt[:60]!r}, which has {len(prompt)}"
        )
    text = prompt[start:end]
    inside = [i for i, (left, right) in enumerate(covered) if max(left, start) < min(right, end)]
    seen = {character for i in inside for character in range(*covered[i])}
    missing = [i for i in range(start, end) if i not in seen and not prompt[i].isspace()]
    if not inside or missing:
        raise ValueError(
            f"the tokenizer of {subject.name} has no token for all of {text!r} in {prompt[:60]!r}; give another part"
        )
    for i in inside:
        token = prompt[slice(*covered[i])]
        before, after = prompt[covered[i][0] : start], prompt[end : max(end, covered[i][1])]
        if before.strip() or after.strip():
            raise ValueError(
                f"{text!r} is not tokens of its own in {prompt[:60]!r}: the tokenizer of {subject.name} has {token!r} "
                "in one; give a part that ends where a token does"
            )
    return Span(inside[0], inside[-1] + 1)
