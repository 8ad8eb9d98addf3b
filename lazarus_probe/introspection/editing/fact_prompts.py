"""The prompts that an edit of a fact is made from and measured on: contexts of its key, other wordings, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.spans import span
from lazarus_probe.tasks import language

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# What stands before a prompt, so that the key of a subject is not that of its place in one sentence.
CONTEXTS = (
    "",
    "The dog found the ball. ",
    "In the morning it rained. ",
    "My friend saw an old book at night. ",
)
NEIGHBOURS = 4  # other subjects of a fact
TEXTS = 160  # that the second moment of keys is taken of
PLACE = "{}"


@dataclass(frozen=True, eq=False)
class FactPrompts:
    """P facts as token ids.

    Attributes:
        prompts: (P,) of each fact.
        last: (P,) the last token of its subject.
        old: (P,) the token that follows.
        new: (P,) the token that is to follow.
        contexts: (P, C) the prompt after other text, and the last token of its subject there.
        wordings: (P, W) the fact in other words.
        neighbours: (P, N) the prompt with other subjects.
        units: (P,) the independent unit of each fact.
    """

    prompts: tuple[tuple[int, ...], ...]
    last: NDArray[Any]
    old: NDArray[Any]
    new: NDArray[Any]
    contexts: tuple[tuple[tuple[tuple[int, ...], int], ...], ...]
    wordings: tuple[tuple[tuple[int, ...], ...], ...]
    neighbours: tuple[tuple[tuple[int, ...], ...], ...]
    units: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompts)


def fact_prompts(
    subject: Subject,
    prompts: Sequence[str],
    parts: Sequence[str],
    old: Sequence[int],
    new: Sequence[int],
    *,
    wordings: Sequence[str] = (),
    neighbours: Sequence[str] | None = None,
    contexts: Sequence[str] = CONTEXTS,
    units: Sequence[str] | None = None,
    seed: int = 0,
) -> FactPrompts:
    """Encode facts with the prompts that their edit is made from and measured on.

    Args:
        subject: a model with a tokenizer.
        prompts: P texts.
        parts: (P,) the subject in each, which is in it once.
        old: (P,) the token that follows.
        new: (P,) the token that is to follow.
        wordings: the fact in other words, with {} for the subject.
        neighbours: other subjects; by default up to four of the other facts'.
        contexts: texts before the prompt, over which a key is averaged; the first is empty.
        units: (P,) the independent unit of each fact; by default its subject.
        seed: of the neighbours drawn.

    Raises:
        ValueError: no facts, counts that do not match, a subject that is not in its prompt once, a wording without {},
            a new answer that equals the old one, or contexts that do not begin with an empty one.
    """
    counts = {"parts": len(parts), "old answers": len(old), "new answers": len(new)}
    if not prompts:
        raise ValueError("no facts; give at least one prompt with its subject")
    for name, count in counts.items():
        if count != len(prompts):
            raise ValueError(f"{count} {name} for {len(prompts)} prompts; give one a prompt")
    if wrong := [text for text in wordings if PLACE not in text]:
        raise ValueError(f"the wording {wrong[0]!r} has no {{}}; write {{}} where the subject stands")
    if not contexts or contexts[0] != "":
        raise ValueError(
            f"the contexts are {list(contexts)!r}; the first is the empty text, of the prompt alone"
        )
    if same := [prompt for prompt, before, after in zip(prompts, old, new, strict=True) if before == after]:
        raise ValueError(f"the answer and the new answer of {same[0][:60]!r} are one token; give two")
    rng = np.random.default_rng(seed)
    placed = [
        [_placed(subject, context + prompt, len(context), prompt, part) for context in contexts]
        for prompt, part in zip(prompts, parts, strict=True)
    ]
    others = [_others(part, parts, neighbours, rng) for part in parts]
    return FactPrompts(
        tuple(rows[0][0] for rows in placed),
        np.array([rows[0][1] for rows in placed]),
        np.array(old),
        np.array(new),
        tuple(tuple(rows) for rows in placed),
        tuple(tuple(_ids(subject, text.replace(PLACE, part)) for text in wordings) for part in parts),
        tuple(
            tuple(_ids(subject, prompt.replace(part, other)) for other in of_fact)
            for prompt, part, of_fact in zip(prompts, parts, others, strict=True)
        ),
        tuple(parts if units is None else units),
    )


def unrelated_texts(seed: int = 0, count: int = TEXTS) -> list[str]:
    """Texts of every language task but capitals, and lines of code, as many of each as of the others."""
    rng = np.random.default_rng(seed)
    tasks = (
        language.english(),
        language.sentiment(),
        language.tool_calls(),
        language.requests(),
        language.code(),
    )
    texts = []
    for task in tasks:
        pool = [example.prompt + example.response for example in task]
        texts += [pool[i] for i in rng.permutation(len(pool))[: -(-count // len(tasks))]]
    return texts[:count]


def _ids(subject: Subject, text: str) -> tuple[int, ...]:
    return tuple(subject.encode(text))


def _placed(subject: Subject, text: str, begin: int, prompt: str, part: str) -> tuple[tuple[int, ...], int]:
    """The tokens of a prompt after a context of `begin` characters, and the last token of a part of the prompt."""
    span(subject, prompt, part)  # which refuses a part that is not there once
    return _ids(subject, text), span(subject, text, part, which=text[:begin].count(part)).last


def _others(
    part: str, parts: Sequence[str], neighbours: Sequence[str] | None, rng: np.random.Generator
) -> list[str]:
    pool = [other for other in dict.fromkeys(parts if neighbours is None else neighbours) if other != part]
    return [pool[i] for i in sorted(rng.permutation(len(pool))[:NEIGHBOURS])] if neighbours is None else pool
