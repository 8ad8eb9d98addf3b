"""Untrusted JSON: with limits on size, depth and the number of entries."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from lazarus_probe.files.reading import MOST_TEXT, read_text

MOST_ENTRIES = 10_000_000  # in memory they are a gigabyte at most
MOST_DEPTH = 100
_DIGITS = re.compile(r"value has (\d+) digits")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: str | Path, most: int = MOST_TEXT) -> Any:
    """The JSON in a regular file.

    Raises:
        OSError: it cannot be read, is not a regular file or is larger than `most` bytes.
        ValueError: as `parse_json`; not UTF-8.
    """
    return parse_json(read_text(path, most))


def parse_json(text: str | bytes, once: bool = False) -> Any:
    """Parse a JSON text.

    Args:
        text: the JSON.
        once: refuse an object with a duplicate key, since parsers differ in which value they keep.

    Raises:
        ValueError: it is not JSON, nests deeper than `MOST_DEPTH`, has more than `MOST_ENTRIES` entries, a number of
            thousands of digits, or a lone surrogate. The message does not name the file.
    """
    text = text.decode() if isinstance(text, bytes) else text
    if sum(map(text.count, ",:[{")) > MOST_ENTRIES:
        raise ValueError(f"more than {MOST_ENTRIES:,} entries")
    try:
        document = json.loads(text, object_pairs_hook=_named_once if once else None)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python's message advises programmers
        digits = _DIGITS.search(str(error))
        raise ValueError(f"a number of {digits[1]} digits" if digits else str(error)) from None
    if _deeper(document, MOST_DEPTH):
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels")
    if _HALF.search(text) and not _is_utf8(document):
        raise ValueError("a lone surrogate, as in \\ud800")
    return document


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"it names {twice[:80]!r} twice")
    return named


def _deeper(document: Any, most: int) -> bool:
    """Whether lists and objects nest deeper than `most` levels; without recursion."""
    level = [document] if isinstance(document, dict | list) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _is_utf8(document: Any) -> bool:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
