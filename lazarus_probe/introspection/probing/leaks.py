"""Leaks from the training side of a split to the test side: prompts of one content in two groups.

Prompts of two classes may be made in pairs that differ in a word, as `I loved the film` and `I hated the film`. A probe
that is trained on one of a pair and tested on the other takes it for the nearest prompt it knows, which has the other
class: the score falls below chance, of the probe as of its controls, and gains over these look good.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.batches import Prompt


def check_leaks(
    prompts: Sequence[Prompt], texts: Sequence[str], groups: NDArray[Any], facts: NDArray[Any] | None = None
) -> None:
    """Refuse groups that share content.

    A probe trained on `3 * 7` knows `7 * 3`: prompts of the same words in any order, or of the same fact, must share a
    group. Words and not tokens are compared: the tokens of `12 * 34` and `13 * 24` are the same where each digit is
    one, and those of `3 * 7` and `7 * 3` differ where a space belongs to the token after it. Spaces, capitals and the
    sign at the end do not count.

    Args:
        prompts: (N,) texts, or token ids.
        texts: (N,) the prompts as text.
        groups: (N,) what a split keeps together.
        facts: (N,) what each prompt is about.

    Raises:
        ValueError: two such prompts in different groups; the message names them.
    """
    contents = {"words": [_content(*row) for row in zip(prompts, texts, strict=True)]}
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


def matched(prompts: Sequence[str], labels: Sequence[str]) -> list[int]:
    """(N,) which prompts belong together, as numbers: those matched across classes, and those of the same words.

    Two prompts are matched if each is as close to the other as to any prompt of another class, and less than half of
    their words differ; spaces do not count. That is so by chance as well where prompts share words. So matches count
    if they are a design: half of the prompts have one, and each set of matches has as many prompts of every class.

    Args:
        prompts: (N,) texts.
        labels: (N,) the class of each.
    """
    bags = [Counter(word for word in words(prompt, prompt) if not word.isspace()) for prompt in prompts]
    columns = {
        word: column for column, word in enumerate(dict.fromkeys(word for bag in bags for word in bag))
    }
    counts = np.zeros((len(bags), len(columns)))
    for row, bag in enumerate(bags):
        counts[row, [columns[word] for word in bag]] = list(bag.values())
    sizes, shared = counts.sum(axis=1), np.zeros((len(bags), len(bags)))
    for times in range(1, int(counts.max(initial=0)) + 1):
        shared += (counts >= times).astype(float) @ (counts >= times).T.astype(float)
    differing = np.maximum(sizes[:, None], sizes[None, :]) - shared
    names = np.array(labels)
    apart = np.where(names[:, None] == names[None, :], np.inf, differing)
    nearest = apart.min(axis=1, initial=np.inf)
    pairs = (apart == nearest[:, None]) & (apart == nearest[None, :])
    pairs &= 2 * differing < np.maximum(sizes[:, None], sizes[None, :])
    same = (differing == 0) & (names[:, None] == names[None, :])
    numbers = _components(same | pairs)
    sets: dict[int, Counter[str]] = {}
    for number, label in zip(numbers, labels, strict=True):
        sets.setdefault(number, Counter())[label] += 1
    across = [classes for classes in sets.values() if len(classes) > 1]
    balanced = all(len(classes) == len(set(labels)) and len(set(classes.values())) == 1 for classes in across)
    designed = balanced and len(across) > 1 and 2 * sum(classes.total() for classes in across) >= len(prompts)
    return numbers if designed else _components(same)


def default_units(prompts: Sequence[str], labels: Sequence[str]) -> list[str]:
    """(N,) for each prompt the first that a split keeps it together with: of the same words, or matched.

    Matches that would leave a class with fewer than two groups are not made.
    """
    same_words: dict[tuple[Any, ...], str] = {}
    alone = [same_words.setdefault(tuple(words(prompt, prompt)), prompt) for prompt in prompts]
    if len(set(labels)) > 1 and len(set(zip(prompts, labels, strict=True))) > len(set(prompts)):
        return alone  # a prompt in two classes, which is an error
    together = [prompts[number] for number in matched(prompts, labels)]
    of_class: dict[str, set[str]] = {}
    for label, unit in zip(labels, together, strict=True):
        of_class.setdefault(label, set()).add(unit)
    return together if min(map(len, of_class.values())) > 1 else alone


def across(units: NDArray[Any], labels: NDArray[Any]) -> int:
    """How many prompts share a unit (N,) with a prompt of another label (N,)."""
    classes: dict[str, set[str]] = {}
    for unit, label in zip(units.tolist(), labels.tolist(), strict=True):
        classes.setdefault(unit, set()).add(label)
    return sum(len(classes[unit]) > 1 for unit in units.tolist())


def _components(linked: NDArray[np.bool_]) -> list[int]:
    """(N,) the lowest number among all that are linked, directly or not, (N, N)."""
    numbers = list(range(len(linked)))
    for first, second in zip(*np.nonzero(linked), strict=True):
        low, high = sorted((numbers[first], numbers[second]))
        numbers = [low if number == high else number for number in numbers]
    return numbers


def _content(prompt: Prompt, text: str) -> tuple[Any, ...]:
    """What two prompts of one content share: their sorted words and signs, however they are written."""
    plain = unicodedata.normalize("NFKC", text).casefold().strip().rstrip(".!?").rstrip()
    return tuple(word for word in words(prompt, plain) if not (isinstance(word, str) and word.isspace()))


def words(prompt: Prompt, text: str) -> list[Any]:
    """The sorted words, numbers, signs and spaces of a prompt; of token ids the tokens."""
    return sorted(re.findall(r"\w+|\W", text) if isinstance(prompt, str) else map(int, prompt))
