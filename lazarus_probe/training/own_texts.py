"""Texts of a model's own, sampled from it: what a lens is trained on where nobody gives texts.

A lens is to hold where the model is used, and of what a stranger's model was trained on nothing is known. Its own
samples at temperature 1 are distributed as it believes texts are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.introspection.generation.completions import generate
from lazarus_probe.subject.random_tokens import ordinary_tokens

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

TEXT_TOKENS = 32  # new ones a text at most
TOKENS = 4096  # of all texts, where their number is not given
BATCH = 64
MOST_TEXTS = 4096


@dataclass(frozen=True)
class OwnTexts:
    """Texts sampled from a model.

    Attributes:
        ids: token ids of each, with the token that it began with.
        start: what each began with: "its BOS token", or "one token drawn from its vocabulary".
        seed: of the draws.
    """

    ids: tuple[tuple[int, ...], ...]
    start: str
    seed: int

    def __str__(self) -> str:
        return (
            f"{len(self.ids)} sampled from the model at temperature 1, each after {self.start}, "
            f"{sum(map(len, self.ids))} tokens (seed {self.seed})"
        )

    def as_data(self) -> dict[str, Any]:
        """Where the texts come from, without the texts."""
        return {
            "source": "sampled from the model",
            "start": self.start,
            "temperature": 1.0,
            "count": len(self.ids),
            "tokens": sum(map(len, self.ids)),
            "seed": self.seed,
        }


def own_texts(
    subject: Subject, samples: int | None = None, seed: int = 0, check: Callable[[], None] = lambda: None
) -> OwnTexts:
    """Sample texts from a model at temperature 1.

    A text begins with the beginning-of-sequence token, where the tokenizer puts one, else with one ordinary token, each
    as likely as the others; it ends where the model ends it, or after 32 more.

    Args:
        subject: a model with a tokenizer.
        samples: how many texts; by default as many as hold 4,096 tokens together.
        seed: of first tokens and draws.
        check: called between two tokens.

    Raises:
        ValueError: a model that ends nearly every text at once.
    """
    rng, ordinary = np.random.default_rng(seed), ordinary_tokens(subject)
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    begins = bos is not None and subject.encode("a")[:1] == [bos]
    texts: list[tuple[int, ...]] = []
    drawn = 0
    while len(texts) < (samples or MOST_TEXTS) and (samples or sum(map(len, texts)) < TOKENS):
        if drawn >= 4 * (samples or MOST_TEXTS):
            raise ValueError(
                f"{subject.name} ended {drawn - len(texts)} of {drawn} texts at once; give texts with --data"
            )
        size = min(BATCH, samples - len(texts)) if samples else BATCH
        starts = [[int(bos)] if begins else [int(rng.choice(ordinary))] for _ in range(size)]  # type: ignore[arg-type]
        written = generate(
            subject,
            starts,
            TEXT_TOKENS,
            temperature=1.0,
            seed=seed,
            streams=range(drawn, drawn + size),
            check=check,
        )
        drawn += size
        texts += [(*start, *text.tokens) for start, text in zip(starts, written, strict=True) if text.tokens]
    start = "its BOS token" if begins else "one token drawn from its vocabulary"
    return OwnTexts(tuple(texts), start, seed)
