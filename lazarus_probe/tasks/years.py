"""Spans of years, of which the second must be the later.

After Hanna et al. 2023 (arXiv:2305.00586), in sentences of our own: models remember the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# {start} is a year, {century} its first two digits: what follows are two digits of a year.
SPANS = (
    "The war lasted from the year {start} to the year {century}",
    "The siege lasted from {start} to {century}",
    "The king reigned from {start} until {century}",
    "She lived in the village from {start} to {century}",
    "The bridge was built between {start} and {century}",
    "The famine began in {start} and ended in {century}",
    "The expedition set out in {start} and came back in {century}",
    "The treaty held from {start} through {century}",
    "His journal runs from {start} to {century}",
    "The plague raged from {start} until the spring of {century}",
    "The company existed from {start} to {century}",
    "They were married from the year {start} to the year {century}",
    "The mine was open from {start} till {century}",
    "The strike started in {start} and was over in {century}",
    "The painter worked in Rome from {start} to {century}",
    "The colony was held from {start} until {century}",
    "The dynasty ruled from {start} to about {century}",
    "The drought went on from {start} to {century}",
    "The exile lasted from {start} to the summer of {century}",
    "The school taught Latin from {start} until {century}",
    "The project ran from {start} to {century}",
    "The alliance stood from {start} to {century}",
    "The newspaper appeared from {start} until {century}",
    "The voyage took from {start} to {century}",
)
CENTURIES = (12, 13, 14, 15, 16, 17, 18)
# The tens of both sides are left: earlier years and later ones of the century.
FIRST, LAST = 20, 79


@dataclass(frozen=True)
class Span:
    """A prompt that ends in the first digits of a span's last year.

    Attributes:
        prompt: the text.
        start: the two last digits of the span's first year, from 20 to 79.
        template: which sentence it is.
        year: the span's first year: an independent unit.
    """

    prompt: str
    start: int
    template: str
    year: str


def spans(rng: np.random.Generator, per_template: int = 4) -> list[Span]:
    """Spans of years in every sentence, with first years drawn evenly."""
    drawn = []
    for template in SPANS:
        for _ in range(per_template):
            century, start = int(rng.choice(CENTURIES)), int(rng.integers(FIRST, LAST + 1))
            prompt = template.format(start=f"{century}{start:02}", century=century)
            drawn.append(Span(prompt, start, template, f"{century}{start:02}"))
    return drawn
