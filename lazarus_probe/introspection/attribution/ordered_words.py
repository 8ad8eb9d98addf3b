"""Words that have an order, as token ids: what a successor head would count through (Gould et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazarus_probe.subject.spellings import FORMS, token_of
from lazarus_probe.tasks.calendar import DAYS, MONTHS

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

SEQUENCES: Mapping[str, tuple[str, ...]] = {
    "days": tuple(day.lower() for day in DAYS),
    "months": tuple(month.lower() for month in MONTHS),
    "letters": tuple("abcdefghijklmnopqrstuvwxyz"),
    "numerals": tuple(str(number) for number in range(1, 21)),
    "number words": (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
        *("eleven", "twelve"),
    ),
    "ordinals": (
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
    ),
    "roman numerals": ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"),
    "tens": ("ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
    "teens": ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
    "decades": ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties"),
    "capital letters": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "short days": tuple(day[:3] for day in DAYS),
    "short months": tuple(month[:3] for month in MONTHS),
    "multiples": ("single", "double", "triple", "quadruple", "quintuple"),
    "greek letters": ("alpha", "beta", "gamma", "delta", "epsilon", "zeta"),
    "planets": ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"),
}
# A head that names any member of a sequence but the one it reads is right once in as many cases.
FEWEST_MEMBERS = 5


@dataclass(frozen=True)
class Sequences:
    """Ordered words as token ids.

    Attributes:
        tokens: by name, the ids in order: the longest run of words that are one token each.
        left_out: by name, why a sequence is not there.
    """

    tokens: Mapping[str, tuple[int, ...]]
    left_out: Mapping[str, str]


def ordered_tokens(subject: Subject) -> Sequences:
    """The sequences of which this tokenizer has a run of at least five words, each one token in the same spelling."""
    runs, left_out = {}, {}
    for name, words in SEQUENCES.items():
        run = max((_longest_run(subject, [form(word) for word in words]) for form in FORMS.values()), key=len)
        if len(run) < FEWEST_MEMBERS:
            left_out[name] = (
                f"its longest run of words that are one token has {len(run)}; {FEWEST_MEMBERS} are needed"
            )
        else:
            runs[name] = tuple(run)
    return Sequences(runs, left_out)


def _longest_run(subject: Subject, words: Sequence[str]) -> list[int]:
    best: list[int] = []
    run: list[int] = []
    for word in words:
        token = token_of(subject, word)
        run = [] if token is None or token in run else [*run, token]
        best = max(best, run, key=len)
    return best
