"""Pairs as token ids, each prompt encoded once; and the two tokens whose logits separate a pair's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lazarus_probe.introspection.generation.spelled import spelled_after
from lazarus_probe.introspection.patching.answers import shown
from lazarus_probe.introspection.patching.prompt_pairs import Answer, PromptPair

if TYPE_CHECKING:
    from lazarus_probe.subject.batches import Prompt
    from lazarus_probe.subject.subject import Subject


class EncodedPrompt(NamedTuple):
    """A prompt and its token ids."""

    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True)
class EncodedPair:
    """A pair whose prompts are encoded.

    Attributes:
        pair: the prompts and their answers.
        source: the prompt that is patched from.
        target: the prompt that is patched into.
    """

    pair: PromptPair
    source: EncodedPrompt
    target: EncodedPrompt


def encode_prompts(subject: Subject, texts: Iterable[str]) -> dict[str, EncodedPrompt]:
    """Prompts by their text, each encoded once."""
    return {text: EncodedPrompt(text, tuple(subject.encode(text))) for text in dict.fromkeys(texts)}


def encode_pairs(subject: Subject, pairs: Sequence[PromptPair]) -> list[EncodedPair]:
    """Pairs with the token ids of their prompts."""
    prompts = encode_prompts(subject, (text for pair in pairs for text in (pair.source, pair.target)))
    return [EncodedPair(pair, prompts[pair.source], prompts[pair.target]) for pair in pairs]


@dataclass(frozen=True)
class Tokens:
    """By pair the token that begins the source's answer, and the one that begins the target's.

    Attributes:
        answers: of the sources.
        others: of the targets.
        form: how the answers that were given are written, one of `subject.spellings.FORMS`; None where they are not
            written in one.
    """

    answers: tuple[int, ...]
    others: tuple[int, ...]
    form: str | None = None


def tokens_of(subject: Subject, pairs: Sequence[EncodedPair], *, same_answers: bool = False) -> Tokens:
    """By pair the tokens of its answers, or else the model's next tokens after the source and after the target.

    Answers are words in any spelling: all of them are taken in one that makes each a token, the likeliest after the
    prompts (`spelled_after`); one with a space before it, or in quotes, as it stands.

    Args:
        subject: the model.
        pairs: with answers, or without.
        same_answers: whether both answers of a pair may be one, where patching should change nothing.

    Raises:
        ValueError: no pairs, an answer that is a single token in no spelling, a pair of unequal token lengths, or one
            with two equal tokens where they may not be.
    """
    if not pairs:
        raise ValueError("no pairs; give at least one source and target")
    for number, pair in enumerate(pairs):
        lengths = len(pair.source.ids), len(pair.target.ids)
        if lengths[0] != lengths[1]:
            raise ValueError(
                f"pair {number}: the source has {lengths[0]} tokens and the target {lengths[1]}; "
                "patch between prompts of equal length"
            )
    sides = [(pair.pair.source_answer, pair.source) for pair in pairs]
    sides += [(pair.pair.target_answer, pair.target) for pair in pairs]
    tokens, form = _tokens(subject, sides)
    answers, others = tokens[: len(pairs)], tokens[len(pairs) :]
    for number, (answer, alternative) in enumerate(zip(answers, others, strict=True)):
        if answer == alternative and not same_answers:
            raise ValueError(
                f"pair {number}: source and target both lead to {subject.decode([answer])!r}; "
                "give two tokens with --answer and --other, or other prompts"
            )
    return Tokens(tuple(answers), tuple(others), form)


def next_tokens(subject: Subject, prompts: Sequence[Prompt]) -> list[int]:
    """The most likely next token of each prompt."""
    import mlx.core as mx

    from lazarus_probe.subject.last_position import next_token_logits

    tokens = [0] * len(prompts)
    for indices, logits in next_token_logits(subject, prompts):
        tops: Any = mx.argmax(logits, axis=-1).tolist()
        for index, top in zip(indices, tops, strict=True):
            tokens[index] = top
    return tokens


def _tokens(
    subject: Subject, answers: Sequence[tuple[Answer | None, EncodedPrompt]]
) -> tuple[list[int], str | None]:
    """The token of each answer after its prompt, and how the given ones are written."""
    unanswered = [prompt.ids for answer, prompt in answers if answer is None]
    written = [(shown(answer), prompt.ids) for answer, prompt in answers if answer is not None]
    tops = iter(next_tokens(subject, unanswered) if unanswered else ())
    spelled = (
        spelled_after(subject, [ids for _, ids in written], [word for word, _ in written])
        if written
        else None
    )
    words = iter(spelled.tokens if spelled else ())
    tokens = [next(tops) if answer is None else next(words) for answer, _ in answers]
    return tokens, spelled.form if spelled else None
