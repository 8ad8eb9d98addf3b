"""The tables of `lazarus introspect dual-reward`, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tasks.prompts import Question
    from lazarus_probe.training.class_words import Comparison, Reading, Share

WIDTH = 16


def published_table(
    subject: Subject, questions: Sequence[Question], reading: Reading, words: Mapping[str, str]
) -> Iterator[str]:
    """The published prompts: the token on top of the lens, over the whole vocabulary, beside the class word."""
    yield "Prompt               Predicted        Expected         Status  Probability"
    yield "-" * 60
    columns = (reading.top.tolist(), reading.named.tolist(), reading.probability.tolist())
    for question, top, named, probability in zip(questions, *columns, strict=True):
        word = words[question.fact.operation].strip()
        predicted, status = (word, "[OK]") if named else (shown_token(subject, top), "[X]")
        yield f"  {question.text:<19}{predicted:<17}{word:<17}{status:<8}{probability:.4f}"
    yield "-" * 60


def shown_token(subject: Subject, token: int) -> str:
    """A token in 16 printable characters at most; quoted where it is blank or cannot be printed."""
    text = subject.decode([token])
    text = text.strip() if text.strip() and text.isprintable() else repr(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def held_out_tables(rows: Sequence[Comparison]) -> Iterator[str]:
    """Of each operation: the class word on top of the lens, then the answers, before and after training."""
    yield "             Class word on top of the lens             its probability"
    yield "Operation    n      before             after              before  after"
    yield "-" * 72
    for row in rows:
        named = f"{share(row.named_before):<19}{share(row.named_after):<19}"
        probability = f"{row.probability_before:.4f}  {row.probability_after:.4f}"
        yield f"{row.operation:<13}{row.n:<7}{named}{probability}"
    yield ""
    yield "             Answers right"
    yield "Operation    n      before             after              change"
    yield "-" * 72
    for row in rows:
        answered = f"{share(row.answered_before):<19}{share(row.answered_after):<19}"
        yield f"{row.operation:<13}{row.n:<7}{answered}{share(row.answers_change)}"


def share(value: Share) -> str:
    """A share with its interval, as in `0.95 [0.93, 0.97]`."""
    from lazarus_probe.statistics.intervals import estimate

    return estimate(value.share, value.low, value.high)
