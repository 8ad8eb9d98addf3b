"""What a word that is not known was probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

CUTOFF = 0.6  # the likeness that difflib takes for a close match


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like another; None where none is. Case, and whether it is - or _, do not matter."""
    words = {_plain(name): name for name in known}
    close = get_close_matches(_plain(word), words, n=1, cutoff=CUTOFF)
    return words[close[0]] if close else None


def one_of(word: str, known: Iterable[str]) -> str:
    """What to give in place of a word: the nearest one, and all there are."""
    names = list(known)
    close = nearest(word, names)
    guess = f"did you mean {close}? " if close else ""
    return f"{guess}give one of {', '.join(names) or '(there are none)'}"


def first_to_tell(errors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Of the errors of a pydantic model the one to tell: a field that is unknown, for another may be missing by it."""
    return next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])


def in_a_line(error: Mapping[str, Any], whole: str) -> str:
    """An error of a pydantic model: where it is, which is the whole where no field is named, and what."""
    return f"{'.'.join(map(str, error['loc'])) or whole}: {' '.join(error['msg'].split())}"


def choices_in(error: Mapping[str, Any]) -> list[str]:
    """The values that a field of pydantic takes, where an error of it says that it is none of them."""
    expected = str(error.get("ctx", {}).get("expected", "")) if error["type"] == "literal_error" else ""
    return [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",") if part.strip()]


def _plain(word: str) -> str:
    return word.lower().replace("-", "_").strip()
