"""Small questions in symbols and in words, in the same sentences: no sign and no word of reckoning comes twice.

Where `*` stands in every question in symbols, a bag of tokens tells them from those in words. Here a held-out question
has a sign, or a word, that the others of its kind do not have, and what stands around it is the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, cycle

from lazarus_probe.tasks.language import Example

_FRAMES = (
    "What is the value of {}?",
    "Give the result of {} and stop.",
    "Tell me, by the rules, {}.",
    "Reckon {} to the end.",
    "Here is a question: {}",
    "Answer this one of the questions: {}",
)
_SYMBOLS = (
    "7 + 8", "15 − 8", "7 × 6", "56 ÷ 7", "4 * 9", "23 - 9", "48 / 6", "2 ^ 5", "3 ** 4", "7²", "2³", "√49",  # noqa: RUF001
    "∛27", "5!", "17 % 5", "3 < 8", "9 > 4", "6 ≤ 6", "7 ≥ 2", "4 ≠ 5", "3 = 3", "8 : 2", "6 · 7", "5 ∙ 9",
    "½ 16", "¼ 20", "10 ± 2", "3 ≡ 8", "5⁴", "9⁰", "12 // 5", "⌊7.5⌋", "⌈2.1⌉", "8 & 3", "5 | 2", "1 << 4",
    "6 >> 1", "~7", "3 ⊕ 5", "0x1F", "1e3", "{1} ∪ {3}", "{2} ∩ {2}", "3 ∈ {3}", "6 ⋅ 8", "9 ⁄ 3", "7 == 7",  # noqa: RUF001
    "2 != 3",
)  # fmt: skip
_WORDS = (
    "7 plus 8", "15 minus 8", "7 times 6", "56 divided by 7", "4 multiplied by 9", "23 less 9", "48 over 6", "2 to 5",
    "4 quadrupled", "7 squared", "2 cubed", "root 49", "twice 27", "5 factorial", "17 modulo 5", "thrice 8",
    "9 without 4", "half 6", "double 7", "triple 4", "3 halved", "8 doubled", "6 tripled", "5 take away 2",
    "a quarter of 16", "a third of 21", "10 percent of 20", "3 more than 8", "5 fewer than 9", "9 added to 1",
    "2 subtracted from 12", "the sum of 7 and 5", "the product of 2 and 3", "8 groups of 3", "5 lots of 2", "dozen 1",
    "6 shared between 2", "negative 7", "3 combined with 5", "15 decreased by 1", "13 increased by 3",
    "the difference of 3 and 1", "the quotient of 8 and 2", "the mean of 3 and 5", "6 into 48", "9 split in 3",
    "maximum 7, 4", "minimum 2, 3",
)  # fmt: skip


def notations() -> Iterator[Example]:
    """Questions of the tasks `symbols` and `words`; the subject, one to a prompt, is what is asked for."""
    of_kinds = (("symbols", _SYMBOLS), ("words", _WORDS))
    for (kind, expression), frame in zip(
        chain.from_iterable([(kind, text) for text in texts] for kind, texts in of_kinds),
        cycle(_FRAMES),
        strict=False,
    ):
        yield Example(kind, frame, expression, frame.format(expression), "")
