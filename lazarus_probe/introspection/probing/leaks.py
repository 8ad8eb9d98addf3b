"""Leaks from the training side of a split to the test side: prompts of one content in two groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from lazarus_probe.subject.batches import Prompt


def check_leaks(
    prompts: Sequence[Prompt], texts: Sequence[str], groups: NDArray[Any], facts: NDArray[Any] | None = None
) -> None:
    """Refuse groups that share content.

    A probe trained on `3 * 7` knows `7 * 3`: prompts of the same words in any order, or of the same fact, must share a
    group. Words and not tokens are compared: the tokens of `12 * 34` and `13 * 24` are the same where each digit is
    one, and those of `3 * 7` and `7 * 3` differ where a space belongs to the token after it.

    Args:
        prompts: (N,) texts, or token ids.
        texts: (N,) the prompts as text.
        groups: (N,) what a split keeps together.
        facts: (N,) what each prompt is about.

    Raises:
        ValueError: two such prompts in different groups; the message names them.
    """
    contents = {"words": [tuple(words(*row)) for row in zip(prompts, texts, strict=True)]}
    if facts is not None:
        contents["fact"] = [(str(fact),) for fact in facts.tolist()]
    for name, content in contents.items():
        row_of: dict[tuple[Any, ...], int] = {}
        for row, key in enumerate(content):
            first = row_of.setdefault(key, row)
            if groups[first] != groups[row]:
                raise ValueError(
                    f"prompts {texts[first]!r} of group {groups[first]} and {texts[row]!r} of group "
                    f"{groups[row]} have the same {name}: a probe would be trained on what it is tested "
                    "on; give them one group, such as their sorted operands"
                )


def words(prompt: Prompt, text: str) -> list[Any]:
    """The sorted words, numbers, signs and spaces of a prompt; of token ids the tokens."""
    return sorted(re.findall(r"\w+|\W", text) if isinstance(prompt, str) else map(int, prompt))
