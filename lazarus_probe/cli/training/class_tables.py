"""The tables of `lazarus introspect dual-reward`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tasks.prompts import Question
    from lazarus_probe.training.class_words import Comparison, Reading, Share

WIDTH = 16


def published_table(
    subject: Subject, questions: Sequence[Question], reading: Reading, words: Mapping[str, str]
) -> str:
    """The published prompts: the token on top of the lens, over the whole vocabulary, and the class word."""
    columns = (
        Column("Prompt", width=20),
        Column("Predicted", width=WIDTH),
        Column("Expected", width=WIDTH),
        Column("Status", width=7),
        Column("Probability", ".4f"),
    )
    values = (reading.top.tolist(), reading.named.tolist(), reading.probability.tolist())
    rows = []
    for question, top, named, probability in zip(questions, *values, strict=True):
        word = words[question.fact.operation].strip()
        predicted, status = (word, "[OK]") if named else (shown_token(subject, top), "[X]")
        rows.append((f"  {question.text}", predicted, word, status, probability))
    headings, *lines = Table(columns, rows).lines(gap=1)
    rule = "-" * 60
    return "\n".join([headings, rule, *lines, rule])


def shown_token(subject: Subject, token: int) -> str:
    """A token in 16 printable characters at most; quoted where it is blank or cannot be printed."""
    text = subject.decode([token])
    text = text.strip() if text.strip() and text.isprintable() else repr(text)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def held_out_tables(rows: Sequence[Comparison]) -> str:
    """By operation: the class word on top of the lens, then the answers, before and after training."""
    columns = [Column("Operation", width=11), Column("n", width=5)]
    columns += [Column(name, width=17) for name in ("before", "after")]
    words, answers = [], []
    for row in rows:
        named = share(row.named_before), share(row.named_after)
        words.append((row.operation, row.n, *named, row.probability_before, row.probability_after))
        answered = share(row.answered_before), share(row.answered_after)
        answers.append((row.operation, row.n, *answered, share(row.answers_change)))
    probabilities = (Column("before", ".4f", width=6), Column("after", ".4f"))
    return "\n".join(
        [
            "             Class word on top of the lens             its probability",
            Table([*columns, *probabilities], words).text(rule=True),
            "",
            "             Answers right",
            Table([*columns, "change"], answers).text(rule=True),
        ]
    )


def share(value: Share) -> str:
    """A share with its interval, as in `0.95 [0.93, 0.97]`."""
    from lazarus_probe.statistics.intervals import estimate

    return estimate(value.share, value.low, value.high)
