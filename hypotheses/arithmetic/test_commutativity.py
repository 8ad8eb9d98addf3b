"""Is an answer the same in both orders of the operands, because the model knows which operations commute?

Published for `*` from the similarity of hidden states, which `-` shows as well; here the answers themselves are
compared in each of 54 slices (phrasings and sizes of both operations), with more questions where they differ. A model
that treats its operands as a set would give the same answer in both orders for every operation, so the same swap must
change the answers of `-` and `/`.
"""

from functools import partial

import pytest

from lazarus_probe.asking.exams import question_exam
from lazarus_probe.claims.falsify import Rows, falsify
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import Fact, is_answer
from lazarus_probe.tasks.numbers import answer_number
from lazarus_probe.tasks.strategies import arithmetic_slices

COMMUTE = ("add", "multiply")


def both_orders(answers, facts, phrasings):
    """The prompts of each fact in both orders of its operands, and the model's completions of both."""
    shots = answers.exam.shots_by_name
    texts = [
        answers.written(Fact(fact.operation, *operands).prompt(phrasing), shots.get(phrasing, ()))
        for fact, phrasing in zip(facts, phrasings, strict=True)
        for operands in ((fact.a, fact.b), (fact.b, fact.a))
    ]
    completions = greedy(answers.subject, texts, answers.max_tokens, answers.form.stops)
    return list(zip(texts[::2], texts[1::2], strict=True)), list(
        zip(completions[::2], completions[1::2], strict=True)
    )


def differ(first, second):
    """Whether two completions give different answers."""
    numbers = answer_number(first), answer_number(second)
    return float(first != second if None in numbers else numbers[0] != numbers[1])


def changed(answers, questions):
    """Whether a question answered correctly in one order gets a different answer in the other."""
    distinct = [
        question
        for question in questions
        if question.fact.a != question.fact.b and question.family not in answers.exam.shown
    ]
    texts, completions = both_orders(answers, [q.fact for q in distinct], [q.phrasing for q in distinct])
    answered = [
        i for i, question in enumerate(distinct) if is_answer(completions[i][0], question.fact.answer)
    ]
    return Rows(
        items=[distinct[i] for i in answered],
        scores=[differ(*completions[i]) for i in answered],
        clusters=[distinct[i].family for i in answered],
        prompts=[" | ".join(texts[i]) for i in answered],
        expected=[f"{distinct[i].fact.answer} | {distinct[i].fact.answer}" for i in answered],
        said=[" | ".join(completions[i]) for i in answered],
        tokens=sum(len(answers.subject.encode(text)) for pair in texts for text in pair),
    )


def changed_in(operation, answers, questions):
    """The same for an operation that does not commute, on the same numbers: 15-8 for 7+8 and 56/8 for 7*8."""
    parts = [(question.fact.a, question.fact.b) for question in questions]
    facts = [Fact(operation, a + b if operation == "subtract" else a * b, b) for a, b in parts]
    _, completions = both_orders(answers, facts, [question.phrasing for question in questions])
    return [differ(*pair) for pair in completions]


@pytest.mark.claim("order-does-not-matter")
def test_order(evidence, rng, ability):
    declared = evidence.claim.parameters
    questions = prompts.questions(rng, declared["per_cell"], operations=COMMUTE)
    answers = ability(question_exam(questions), "the sums and products")
    slices = arithmetic_slices(operations=COMMUTE)
    measure, budget = partial(changed, answers), declared["budget"]
    search = falsify(evidence.claim, measure, slices, seed=evidence.seed, budget=budget, passes=2)
    others = {name: changed_in(name, answers, search.rows.items) for name in ("subtract", "divide")}
    evidence.record(answers.noted(search.measurement("rate of changed answers", **others)))
