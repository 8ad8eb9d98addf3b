"""Where in a completion the answer begins: at once, after words, or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from lazarus_probe.introspection.generation.completions import Generated, generate
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.generate import continuation
from lazarus_probe.tables import Column, Table
from lazarus_probe.tasks.numbers import NUMBER, numbers_in, value_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lazarus_probe.subject.subject import Subject

_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = "+", "-\u2212", "*x\u00d7", "/\u00f7"
_QUESTION = re.compile(
    rf"({NUMBER})\s*([{_ADD}{_MULTIPLY}{_DIVIDE}{_SUBTRACT[::-1]}])\s*({NUMBER})\s*(?:[=?]\s*)?$"
)


@dataclass(frozen=True)
class Token:
    """One generated token, and its probability when it was chosen."""

    index: int
    token_id: int
    token: str
    probability: float


@dataclass(frozen=True)
class Completion:
    """A model's completion of a prompt in one format.

    Attributes:
        prompt: without the chat template.
        format: `raw` or `chat`.
        input: the prompt as the model reads it.
        input_tokens: the input in tokens.
        generated_text: the completion.
        tokens: the tokens of the completion.
        ended: whether the model ended it itself.
        expected_answer: what would be right; None where that is not known.
        answer_found: whether it is in there; None where it is not known.
        answer_onset: the generated token that its first character is in, from 0.
        is_answer_first: whether nothing but spaces is before it.
        answer_cut: whether it reaches the end of what the limit of tokens left, so that it might have gone on.
    """

    prompt: str
    format: str
    input: str
    input_tokens: tuple[str, ...]
    generated_text: str
    tokens: tuple[Token, ...]
    ended: bool
    expected_answer: str | None
    answer_found: bool | None
    answer_onset: int | None
    is_answer_first: bool | None
    answer_cut: bool

    def as_data(self) -> dict[str, Any]:
        """As plain data; `tokens` are texts, `token_details` have their ids and probabilities."""
        return {
            "generated_text": self.generated_text,
            "tokens": [token.token for token in self.tokens],
            "prompt": self.prompt,
            "expected_answer": self.expected_answer,
            "answer_found": self.answer_found,
            "answer_onset": self.answer_onset,
            "is_answer_first": self.is_answer_first,
            "has_trailing_space": self.prompt.endswith(" "),
            "answer_cut": self.answer_cut,
            "ended": self.ended,
            "format": self.format,
            "input": self.input,
            "input_tokens": list(self.input_tokens),
            "token_details": [asdict(token) for token in self.tokens],
        }

    @property
    def table(self) -> Table:
        """One row per generated token."""
        columns = (
            Column("#", width=5, right=True),
            Column("id", width=6, right=True),
            Column("p", ".4f", width=6),
            "token",
        )
        rows = [(token.index, token.token_id, token.probability, repr(token.token)) for token in self.tokens]
        return Table(columns, rows, f"{self.prompt!r} ({self.format}): {self.generated_text!r}")

    def _repr_html_(self) -> str:
        return self.table.html()


def expected_of(prompt: str) -> str | None:
    """The answer to a prompt that ends in `a op b`, with or without `=`; None for others.

    None too for a longer expression, and for a quotient that no decimal writes out.
    """
    match = _QUESTION.search(prompt)
    if match is None or _goes_back(prompt[: match.start()]):
        return None
    a, b = value_of(match[1]), value_of(match[3])
    if match[2] in _DIVIDE:
        value = a / b if b else None
    elif match[2] in _SUBTRACT:
        value = a - b
    else:
        value = a + b if match[2] in _ADD else a * b
    return None if value is None else _written(value)


def onset(text: str, expected: str) -> tuple[int, int] | None:
    """The first span of characters of an answer in a text; None if it is not in there.

    A number is compared by its value: `2,209` is 2209, which is not in `22091`. Others are matched as whole words.
    """
    if re.fullmatch(NUMBER, expected.strip()):
        value = value_of(expected.strip())
        number = next((number for number in numbers_in(text) if number.value == value), None)
        return None if number is None else (number.start, number.end)
    word = re.search(rf"(?<!\w){re.escape(expected.strip())}(?!\w)", text)
    return None if word is None else word.span()


def _goes_back(before: str) -> bool:
    """Whether the text before `a op b` on its line is part of the expression."""
    left = before.rstrip(" \t")
    return bool(left) and (
        left[-1] in f"{_ADD}{_SUBTRACT}*{_MULTIPLY[2:]}{_DIVIDE}().^" or left[-1].isdigit()
    )


def _written(value: Fraction) -> str | None:
    if value.denominator == 1:
        return str(value.numerator)
    text = f"{float(value):.10g}"
    return text if "e" not in text and Fraction(text) == value else None


def complete(
    subject: Subject,
    prompts: Sequence[str],
    formats: Sequence[str],
    expected: Sequence[str | None],
    *,
    max_tokens: int = 10,
    temperature: float = 0.0,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> list[Completion]:
    """The completion of each prompt in its format, and where the answer begins.

    Args:
        subject: the model.
        prompts: N prompts.
        formats: (N,) `raw`, or `chat` for the model's own chat template.
        expected: (N,) the answer of each, or None.
        max_tokens: generated at most.
        temperature: 0 takes the most probable token.
        seed: of the draws.
        check: called between two steps.

    Raises:
        ValueError: as `generate`; `chat` for a model without a template; an expected answer that is empty.
    """
    if any(answer is not None and not answer.strip() for answer in expected):
        raise ValueError("an expected answer is empty; give a number or a word")
    inputs = [
        in_chat(subject, prompt) if format_ == "chat" else prompt
        for prompt, format_ in zip(prompts, formats, strict=True)
    ]
    generated = generate(
        subject,
        inputs,
        max_tokens,
        temperature=temperature,
        seed=seed,
        probabilities=True,
        check=check,
    )
    rows = zip(prompts, formats, inputs, expected, generated, strict=True)
    return [_completion(subject, *row) for row in rows]


def formats_of(prompt: str, chat: bool) -> list[tuple[str, str]]:
    """A prompt without and with one space at its end, as plain text and, if requested, in a chat; each with its format.

    Raises:
        ValueError: it is nothing but spaces.
    """
    bare = prompt.rstrip(" ")
    if not bare:
        raise ValueError(f"{prompt!r} is nothing but spaces, and empty without them; give some text")
    return [(text, form) for form in (("raw", "chat") if chat else ("raw",)) for text in (bare, f"{bare} ")]


def _completion(
    subject: Subject, prompt: str, format_: str, text: str, expected: str | None, generated: Generated
) -> Completion:
    before = subject.encode(text)
    ends = _ends(subject, before, generated.tokens)
    span = None if expected is None else onset(generated.text, expected)
    at = None if span is None else next(i for i, end in enumerate(ends) if end > span[0])
    starts = [0, *ends]
    return Completion(
        prompt,
        format_,
        text,
        tuple(subject.decode([token]) for token in before),
        generated.text,
        tuple(
            Token(i, token, generated.text[starts[i] : starts[i + 1]], chance)
            for i, (token, chance) in enumerate(
                zip(generated.tokens, generated.probabilities or (), strict=True)
            )
        ),
        generated.ended,
        expected,
        None if expected is None else span is not None,
        at,
        None if expected is None else span is not None and not generated.text[: span[0]].strip(),
        span is not None and span[1] == len(generated.text) and not generated.ended,
    )


def _ends(subject: Subject, before: list[int], new: Sequence[int]) -> list[int]:
    """Where in the generated text each token ends; a part of a character ends where the whole one does."""
    generated = continuation(subject, before, list(new)) if new else ""
    ends = []
    for count in range(1, len(new) + 1):
        text = continuation(subject, before, list(new[:count]))
        ends.append(len(commonprefix([generated, text])))  # noqa: RUF071 - of characters, no paths
    return ends
