"""Systematic arithmetic: which questions a model answers, and from which layer on the lens predicts the answer.

Answers are read wherever they come in a completion and to their end; one that the limit of tokens cut off is none. The
lens (nostalgebraist, 2020) reads all tokens of the right answer after every layer, each given the ones before it, from
where the model's own answer begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.asking.forms import CHAT, LONG_RAW
from lazarus_probe.introspection.generation.continuation import answer_start
from lazarus_probe.introspection.lens.readings import read_sets
from lazarus_probe.introspection.studies.arithmetic_questions import Question, questions
from lazarus_probe.statistics.intervals import wilson
from lazarus_probe.subject.chat import has_chat_template
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tables import Cell, Table
from lazarus_probe.tasks.numbers import find_answer

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class ArithmeticTest:
    """A model's answer to a question.

    Attributes:
        question: the question.
        output: the greedy completion.
        correct: whether the expected number is what it answers with.
        emergence_layer: the first layer after which the lens has every token of the right answer on top, or None.
        stable_layer: the first from which on it stays there up to the last, or None.
        peak_layer: after which the answer is most probable, as the product over its tokens.
        peak_probability: how probable it is there.
        tokens: how many the right answer has.
    """

    question: Question
    output: str
    correct: bool
    emergence_layer: int | None
    stable_layer: int | None
    peak_layer: int
    peak_probability: float
    tokens: int

    def as_data(self) -> dict[str, Any]:
        """Plain data, the published keys first."""
        return {
            "prompt": self.question.prompt,
            "expected": self.question.fact.answer,
            "operation": self.question.fact.operation,
            "difficulty": self.question.difficulty,
            "magnitude": self.question.magnitude,
            "final_prediction": self.output,
            "correct": self.correct,
            "emergence_layer": self.emergence_layer,
            "peak_layer": self.peak_layer,
            "peak_probability": self.peak_probability,
            "stable_layer": self.stable_layer,
            "answer_tokens": self.tokens,
        }


@dataclass(frozen=True)
class Share:
    """Of some questions: how many are answered, with a Wilson interval, and at which layer the right ones emerge."""

    accuracy: float
    n: int
    low: float
    high: float
    avg_emergence: float | None
    avg_stable: float | None

    def as_data(self) -> dict[str, Any]:
        """Plain data, the published keys first."""
        return {
            "accuracy": self.accuracy,
            "avg_emergence": self.avg_emergence,
            "n": self.n,
            "interval": [self.low, self.high],
            "avg_stable": self.avg_stable,
        }


@dataclass(frozen=True)
class ArithmeticResult:
    """The answers to all questions.

    Attributes:
        model_id: the model's name.
        num_layers: its number of layers.
        chat: whether its chat template was used.
        results: a test each.
        emerged: the share of questions whose right answer the lens has on top after some layer.
        other_emerged: the same for another question's answer: what emerges by chance.
        seed: of the questions and of the other answers.
    """

    model_id: str
    num_layers: int
    chat: bool
    results: tuple[ArithmeticTest, ...]
    emerged: float
    other_emerged: float
    seed: int

    @property
    def overall(self) -> Share:
        """Of all questions."""
        return share(self.results)

    @property
    def stats(self) -> dict[str, dict[str, Share]]:
        """By operation, difficulty and magnitude, in the order asked."""
        return {
            "by_operation": _by(self.results, lambda question: question.fact.operation),
            "by_difficulty": _by(self.results, lambda question: question.difficulty),
            "by_magnitude": dict(sorted(_by(self.results, lambda question: question.magnitude).items())),
        }

    def as_data(self) -> dict[str, Any]:
        """Plain data, the published keys first."""
        return {
            "model_id": self.model_id,
            "num_layers": self.num_layers,
            "total_tests": len(self.results),
            "stats": {
                name: {key: item.as_data() for key, item in shares.items()}
                for name, shares in self.stats.items()
            },
            "results": [item.as_data() for item in self.results],
            "overall": self.overall.as_data(),
            "emergence_rate": self.emerged,
            "controls": {"other_answer": {"emergence_rate": self.other_emerged}},
            "chat": self.chat,
            "seed": self.seed,
        }

    def _repr_html_(self) -> str:
        rows = [
            (
                test.question.prompt,
                test.question.fact.answer,
                Cell(test.output, shade=0.3 if test.correct else -0.3),
                test.emergence_layer,
                test.stable_layer,
                f"{test.peak_probability:.3f} (L{test.peak_layer})",
            )
            for test in self.results
        ]
        columns = ("question", "expected", "said", "emerges", "stays from", "peak")
        return Table(columns, rows, f"Arithmetic of {self.model_id}: {self.overall.accuracy:.1%}").html()


def arithmetic(
    subject: Subject, chosen: Sequence[Question] | None = None, *, raw: bool = False, seed: int = 0
) -> ArithmeticResult:
    """Ask a model arithmetic, and read the right answers through the logit lens after every layer.

    The prompts are answered in batches of equal length, and read in one more run of the model for each kind of answer.

    Args:
        subject: the model.
        chosen: the questions; the 156 of `questions` by default.
        raw: whether to use the plain text where the model has a chat template.
        seed: of the questions and of the other answers that the right ones are compared with.

    Raises:
        ValueError: no questions, or a tokenizer that joins a question with its answer.
    """
    chosen = questions(seed=seed) if chosen is None else chosen
    chat = not raw and has_chat_template(subject)
    form = CHAT if chat else LONG_RAW
    texts = [form.written(subject, question.prompt) for question in chosen]
    completions = greedy(subject, texts, form.limit(subject, [str(q.fact.answer) for q in chosen]))
    answers = [find_answer(text, question.prompt) for text, question in zip(completions, chosen, strict=True)]
    begun = [
        _begun(subject, text, completion[: answer.start] if answer else _spaces(completion), question)
        for text, completion, answer, question in zip(texts, completions, answers, chosen, strict=True)
    ]
    expected = [tuple(ids[start:]) for ids, start in begun]
    others = _others(expected, np.random.default_rng(seed))
    differs = np.array([other != answer for other, answer in zip(others, expected, strict=True)])
    before = [ids[:start] for ids, start in begun]
    lens, other_lens = read_sets(
        subject, before, [[[tokens] for tokens in expected], [[tokens] for tokens in others]]
    )
    tests = [
        ArithmeticTest(
            question,
            text,
            answer is not None and answer.value == question.fact.answer,
            first_layer(top),
            stable_layer(top),
            int(probability.argmax()),
            float(probability.max()),
            len(tokens),
        )
        for question, text, answer, tokens, top, probability in zip(
            chosen, completions, answers, expected, lens.rank == 0, lens.probability, strict=True
        )
    ]
    return ArithmeticResult(
        subject.name,
        subject.num_layers,
        chat,
        tuple(tests),
        float((lens.rank == 0).any(axis=1).mean()),
        float(((other_lens.rank == 0).any(axis=1) & differs).mean()),
        seed,
    )


def _begun(subject: Subject, text: str, before: str, question: Question) -> tuple[list[int], int]:
    """The tokens up to the right answer's end, where the model's own begins: after what it wrote before that."""
    expected = str(question.fact.answer)
    try:
        return answer_start(subject, text + before, expected)
    except ValueError:  # joined with the words before it
        return answer_start(subject, text, _spaces(before) + expected)


def first_layer(on_top: NDArray[np.bool_]) -> int | None:
    """The first layer (of K) after which the token is on top."""
    return int(on_top.argmax()) if on_top.any() else None


def stable_layer(on_top: NDArray[np.bool_]) -> int | None:
    """The first layer (of K) from which on the token is on top up to the last."""
    if not on_top[-1]:
        return None
    missing = np.flatnonzero(~on_top)
    return int(missing[-1]) + 1 if len(missing) else 0


def share(tests: Sequence[ArithmeticTest]) -> Share:
    """How many of some tests are right, and where those emerge on average.

    Raises:
        ValueError: no tests.
    """
    right = [test for test in tests if test.correct]
    interval = wilson(len(right), len(tests))
    return Share(
        len(right) / len(tests),
        len(tests),
        interval.low,
        interval.high,
        _mean(test.emergence_layer for test in right),
        _mean(test.stable_layer for test in right),
    )


def _mean(layers: Iterable[int | None]) -> float | None:
    present = [layer for layer in layers if layer is not None]
    return sum(present) / len(present) if present else None


def _by(tests: Sequence[ArithmeticTest], key: Callable[[Question], str]) -> dict[str, Share]:
    names = dict.fromkeys(key(test.question) for test in tests)
    return {name: share([test for test in tests if key(test.question) == name]) for name in names}


def _spaces(text: str) -> str:
    """The spaces that a text begins with."""
    return text[: len(text) - len(text.lstrip())]


def _others(answers: Sequence[tuple[int, ...]], rng: np.random.Generator) -> list[tuple[int, ...]]:
    """For each answer another one, drawn among those of the other questions; itself where all are the same."""
    others = []
    for answer in answers:
        different = [candidate for candidate in answers if candidate != answer]
        others.append(different[rng.integers(len(different))] if different else answer)
    return others
