"""Pairs of prompts that only the planted circuit tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lazarus_probe.introspection.circuits.pair_sets import PairSet, pair_set
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.sweep.metrics import logit_diff


def subject_of(organism: Any) -> Subject:
    return Subject.from_model(organism.model, organism.tokenizer, organism.name)


def first_operand_pairs(organism: Any, subject: Subject | None = None, count: int = 12) -> PairSet:
    """Prompts that differ in the first operand alone, and in the answer."""
    rng, drawn = np.random.default_rng(0), list[tuple[int, int, int]]()
    while len(drawn) < count:
        a, x, b = (int(number) for number in rng.choice(planted.NUMBERS, size=3))
        if organism.answer(a, b) != organism.answer(x, b):
            drawn.append((a, x, b))
    return pair_set(
        subject or subject_of(organism),
        [planted.prompt(a, b) for a, _, b in drawn],
        [planted.prompt(x, b) for _, x, b in drawn],
        logit_diff(
            [str(organism.answer(a, b)) for a, _, b in drawn],
            [str(organism.answer(x, b)) for _, x, b in drawn],
        ),
    )


def inhibited_pairs(organism: Any, signs: Mapping[int, float], count: int = 12) -> PairSet:
    """Prompts that differ in the second operand, whose sign decides which of the two is said."""
    rng, drawn = np.random.default_rng(0), list[tuple[int, int, int]]()
    while len(drawn) < count:
        a, b, x = (int(number) for number in rng.choice(planted.NUMBERS, size=3, replace=False))
        if signs[b] > 0 > signs[x]:
            drawn.append((a, b, x))
    return pair_set(
        subject_of(organism),
        [planted.prompt(a, b) for a, b, _ in drawn],
        [planted.prompt(a, x) for a, _, x in drawn],
        logit_diff([str(a) for a, _, _ in drawn], [str(x) for _, _, x in drawn]),
    )


def added_pairs(organism: Any) -> PairSet:
    """Sums of small numbers that differ in the first operand."""
    drawn = [(a, x, b) for a in range(1, 5) for x in range(1, 5) for b in range(1, 5) if a != x][::4]
    return pair_set(
        subject_of(organism),
        [planted.prompt(a, b) for a, _, b in drawn],
        [planted.prompt(x, b) for _, x, b in drawn],
        logit_diff([str(a + b) for a, _, b in drawn], [str(x + b) for _, x, b in drawn]),
    )


def first_occurrence_pairs(organism: Any, count: int = 12) -> PairSet:
    """Six tokens and the third of them again; in the corrupted prompt another token stood in its place before."""
    rng, subject = np.random.default_rng(0), subject_of(organism)
    drawn = [
        rng.choice(np.arange(20, subject.anatomy.vocab_size), size=8, replace=False).tolist()
        for _ in range(count)
    ]
    return pair_set(
        subject,
        [[*tokens[:6], tokens[2]] for tokens in drawn],
        [[*tokens[:2], tokens[6], *tokens[3:6], tokens[2]] for tokens in drawn],
        logit_diff([tokens[3] for tokens in drawn], [tokens[7] for tokens in drawn]),
    )
