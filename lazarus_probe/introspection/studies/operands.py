"""The first operand of a question, where its size can be claimed to be in its token, or to come from the layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.probing.inputs import ProbeDataset
from lazarus_probe.subject.spans import Span, spans
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Operands, from 1 on: about 170 numbers separate the published .90 from the threshold of .80 in a family of 18 claims.
# Of 50 numbers such a score has an interval of .2.
NUMBERS, MOST = 200, 1000


def numbers_of_one_token(subject: Subject, operation: str = "multiply") -> NDArray[np.int64]:
    """The first 200 numbers, from 1 on and below 1000, that are one token each at the beginning of a question."""
    symbol, numbers = OPERATIONS[operation].symbol, []
    for number in range(1, MOST):
        if len(_operand(subject, number, f"{number} {symbol} 1 = ")) == 1:
            numbers.append(number)
        if len(numbers) == NUMBERS:
            break
    return np.array(numbers, np.int64)


def why_no_operands(subject: Subject, operation: str = "multiply") -> str | None:
    """Why operands of this model cannot be claimed about; None where they can."""
    return _too_few(len(numbers_of_one_token(subject, operation)))


def _too_few(count: int) -> str | None:
    if count == NUMBERS:
        return None
    return (
        f"{count} of the numbers below {MOST} are one token, {NUMBERS} needed: of the others the digits, by "
        "their place, give the size without any model"
    )


def first_operands(subject: Subject, rng: np.random.Generator, operation: str = "multiply") -> ProbeDataset:
    """The first operand, read at its own token; each number leads in one prompt.

    Numbers are those that are one token. Of one that is several, a probe of their embeddings side by side, by place
    value, reads the size of any number exactly, met or not: it is the sum of what each digit stands for. Random
    embeddings of ten digits do as well, and so do bags of tokens with their places, and no layer can add to it. The
    mean of the embeddings loses the order, and the last token has only the last digit. So for numbers of several tokens
    there is nothing that a measurement could tell about embeddings or layers.

    Raises:
        ValueError: too few numbers are one token (`why_no_operands`).
    """
    numbers, symbol = numbers_of_one_token(subject, operation), OPERATIONS[operation].symbol
    if reason := _too_few(len(numbers)):
        raise ValueError(reason)
    texts = [f"{a} {symbol} {b} = " for a, b in zip(numbers, prompts.cyclic(numbers, rng), strict=True)]
    read = [_operand(subject, number, text).last for number, text in zip(numbers, texts, strict=True)]
    return ProbeDataset(texts, numbers.astype(float), groups=numbers, at=read)


def _operand(subject: Subject, number: int, text: str) -> Span:
    """The tokens of the number that a question begins with."""
    return spans(subject, text, [(0, len(str(number)))])[0]
