"""Prompt sets for claims: texts, what is to be read from them, and the groups that a split must keep together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks import language
from lazarus_probe.tasks.arithmetic import OPERATIONS, PHRASINGS, Fact, facts

PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
COMPOSITES = tuple(n for n in range(12, 51) if n % 10 and any(n % d == 0 for d in range(2, n)))
DIFFICULTIES = ("trivial", "factorisable", "prime")


@dataclass(frozen=True)
class Question:
    """A prompt about one fact, in one phrasing.

    Example:
        >>> from lazarus_probe.tasks import Fact, Question
        >>> fact = Fact("subtract", 15, 8)
        >>> question = Question(fact.prompt("compact"), fact, "compact")
        >>> question.text, question.family
        ('15-8=', '7,8')
    """

    text: str
    fact: Fact
    phrasing: str

    @property
    def family(self) -> str:
        """The fact's family as a group label."""
        low, high = self.fact.family
        return f"{low},{high}"


def texts_and_answers(questions: Sequence[Question]) -> tuple[list[str], list[str]]:
    """The prompts, and the answer of each as it continues its prompt."""
    answers = [question.fact.response(question.phrasing) for question in questions]
    return [question.text for question in questions], answers


def sample_facts(
    operation: str, count: int, rng: np.random.Generator, keep: Callable[[Fact], bool] | None = None
) -> list[Fact]:
    """Different facts of one operation, drawn without replacement from all, or from those that `keep` lets through.

    Raises:
        ValueError: there are not so many.

    Example:
        >>> from lazarus_probe.tasks import sample_facts
        >>> facts = sample_facts("add", 5, np.random.default_rng(0), keep=lambda fact: fact.answer < 10)
        >>> [fact.answer < 10 for fact in facts]
        [True, True, True, True, True]
    """
    pool = facts(operation) if keep is None else [fact for fact in facts(operation) if keep(fact)]
    if len(pool) < count:
        raise ValueError(f"{operation} has {len(pool)} such facts, {count} were requested")
    return [pool[i] for i in rng.choice(len(pool), size=count, replace=False)]


def cyclic(numbers: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """For each number another one, all in one circle: no two are each other's, as in a*b and b*a."""
    order = rng.permutation(len(numbers))
    others = np.empty_like(numbers)
    others[order] = numbers[np.roll(order, 1)]
    return others


def questions(
    rng: np.random.Generator,
    per_cell: int,
    phrasings: Sequence[str] = tuple(PHRASINGS),
    operations: Iterable[str] = tuple(OPERATIONS),
) -> list[Question]:
    """`per_cell` questions for every operation in every phrasing.

    Example:
        >>> from lazarus_probe.tasks import questions
        >>> sample = questions(np.random.default_rng(0), per_cell=2, phrasings=["compact", "what_is"])
        >>> len(sample)  # 4 operations, 2 phrasings, 2 each
        16
    """
    return [
        Question(fact.prompt(phrasing), fact, phrasing)
        for operation in operations
        for phrasing in phrasings
        for fact in sample_facts(operation, per_cell, rng)
    ]


def matched_questions(rng: np.random.Generator, families: int, phrasing: str = "spaced") -> list[Question]:
    """All four operations on the same parts, family by family: 7*8, 7+8, 15-8 and 56/8.

    Example:
        >>> from lazarus_probe.tasks import matched_questions
        >>> questions = matched_questions(np.random.default_rng(0), families=1, phrasing="compact")
        >>> [question.fact.operation for question in questions]
        ['multiply', 'add', 'subtract', 'divide']
        >>> len({question.family for question in questions})
        1
    """
    questions = []
    for product in sample_facts("multiply", families, rng, lambda fact: fact.a <= fact.b):
        a, b = product.a, product.b
        of_family = (product, Fact("add", a, b), Fact("subtract", a + b, b), Fact("divide", a * b, b))
        questions += [Question(fact.prompt(phrasing), fact, phrasing) for fact in of_family]
    return questions


def task_type(rng: np.random.Generator, per_template: int) -> tuple[list[str], list[str], list[str]]:
    """Prompts in many templates: texts, `arithmetic` or `language`, and the template of each.

    Example:
        >>> from lazarus_probe.tasks import task_type
        >>> texts, labels, templates = task_type(np.random.default_rng(0), per_template=2)
        >>> sorted(set(labels))
        ['arithmetic', 'language']
        >>> len(texts) == len(templates)
        True
    """
    texts, labels, templates = [], [], []
    for question in questions(rng, per_template):
        texts.append(question.text)
        labels.append("arithmetic")
        templates.append(f"{question.fact.operation} {question.phrasing}")
    by_template: dict[str, list[str]] = {}
    for example in (
        *language.capitals(),
        *language.sentiment(),
        *language.tool_calls(),
        *language.requests(),
    ):
        by_template.setdefault(example.phrasing, []).append(example.prompt)
    for template, prompts in by_template.items():
        for i in rng.choice(len(prompts), size=min(per_template, len(prompts)), replace=False):
            texts.append(prompts[i])
            labels.append("language")
            templates.append(template)
    return texts, labels, templates


def products(difficulty: str, count: int, rng: np.random.Generator) -> list[Fact]:
    """Products of one difficulty, as published for 10*10, 45*45 and 47*47, each unordered pair once.

    `trivial` has an operand that is 1 or a multiple of ten, `factorisable` two composites above ten that are not,
    `prime` two primes above ten.

    Raises:
        ValueError: an unknown difficulty, or more requested than there are.
    """
    conditions: dict[str, Callable[[Fact], bool]] = {
        "trivial": lambda fact: any(n == 1 or n % 10 == 0 for n in (fact.a, fact.b)),
        "factorisable": lambda fact: fact.a in COMPOSITES and fact.b in COMPOSITES,
        "prime": lambda fact: fact.a in PRIMES and fact.b in PRIMES,
    }
    if difficulty not in conditions:
        raise ValueError(f"unknown difficulty {difficulty!r}; {one_of(difficulty, DIFFICULTIES)}")
    return sample_facts(
        "multiply", count, rng, lambda fact: fact.a <= fact.b and conditions[difficulty](fact)
    )


def spread_products(count: int, rng: np.random.Generator) -> list[Fact]:
    """Different products of numbers of all magnitudes, drawn with a probability that falls as one over the product.

    Of operands drawn evenly, .86 of a product's variance is a sum of functions of them, which token embeddings give; of
    these it is .68.

    Raises:
        ValueError: more requested than there are.
    """
    pool = facts("multiply")
    if count > len(pool):
        raise ValueError(f"there are {len(pool)} products, {count} were requested")
    weights = np.array([1 / fact.answer for fact in pool])
    return [pool[i] for i in rng.choice(len(pool), size=count, replace=False, p=weights / weights.sum())]


def digit_pairs(rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Different pairs of digits 2..9 whose product is not their sum; prompts made of them all have one length.

    Raises:
        ValueError: more requested than there are.
    """
    pool = [(a, b) for a in range(2, 10) for b in range(2, 10) if a * b != a + b]
    if count > len(pool):
        raise ValueError(f"there are {len(pool)} such pairs, {count} were requested")
    return [pool[i] for i in rng.choice(len(pool), size=count, replace=False)]
