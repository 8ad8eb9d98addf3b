"""Is an answer the same in both orders of its operands, because the model knows what commutes?

Published for `*` from the similarity of hidden states, which `-` shows as well; here the answers themselves are
compared in each of 54 slices, every phrasing and size of both operations, and more of them where they differ. A model
that takes its operands for a set gives one answer in both orders of anything: so the same swap must change the answers
of `-` and `/`.
"""

from functools import partial

import numpy as np
import pytest

from lazarus_probe.claims.falsify import Rows, falsify
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import Fact, is_answer, parse_number
from lazarus_probe.tasks.strategies import arithmetic_slices

COMMUTE = ("add", "multiply")


def both_orders(subject, facts, phrasings):
    """The prompts of each fact as it is and with its operands swapped, and what the model says to both."""
    texts = [
        Fact(fact.operation, *operands).prompt(phrasing)
        for fact, phrasing in zip(facts, phrasings, strict=True)
        for operands in ((fact.a, fact.b), (fact.b, fact.a))
    ]
    said = greedy(subject, texts, 6)
    return list(zip(texts[::2], texts[1::2], strict=True)), list(zip(said[::2], said[1::2], strict=True))


def differ(first, second):
    """Whether two completions give different answers."""
    numbers = parse_number(first), parse_number(second)
    return float(first != second if None in numbers else numbers[0] != numbers[1])


def changed(subject, questions):
    """Whether a question that is answered right in one order is answered otherwise in the other."""
    asked = [question for question in questions if question.fact.a != question.fact.b]
    texts, said = both_orders(subject, [q.fact for q in asked], [q.phrasing for q in asked])
    known = [i for i, question in enumerate(asked) if is_answer(said[i][0], question.fact.answer)]
    return Rows(
        items=[asked[i] for i in known],
        scores=[differ(*said[i]) for i in known],
        clusters=[asked[i].family for i in known],
        prompts=[" | ".join(texts[i]) for i in known],
        expected=[f"{asked[i].fact.answer} | {asked[i].fact.answer}" for i in known],
        said=[" | ".join(said[i]) for i in known],
        tokens=sum(len(subject.encode(text)) for pair in texts for text in pair),
    )


def changed_in(operation, subject, questions):
    """The same for an operation that does not commute, on the same numbers: 15-8 for 7+8 and 56/8 for 7*8."""
    parts = [(question.fact.a, question.fact.b) for question in questions]
    facts = [Fact(operation, a + b if operation == "subtract" else a * b, b) for a, b in parts]
    _, said = both_orders(subject, facts, [question.phrasing for question in questions])
    return [differ(*pair) for pair in said]


@pytest.mark.claim("order-does-not-matter")
def test_order(subject, evidence, rng):
    declared = evidence.claim.parameters
    asked = prompts.questions(rng, declared["per_cell"], operations=COMMUTE)
    said = greedy(subject, [question.text for question in asked], 6)
    known = np.mean(
        [is_answer(text, question.fact.answer) for text, question in zip(said, asked, strict=True)]
    )
    needed = declared["answered"]
    evidence.require(known >= needed, f"answers {known:.2f} of the sums and products; {needed:.2f} needed")
    slices = arithmetic_slices(operations=COMMUTE)
    measure, budget = partial(changed, subject), declared["budget"]
    found = falsify(evidence.claim, measure, slices, seed=evidence.seed, budget=budget, passes=2)
    others = {name: changed_in(name, subject, found.rows.items) for name in ("subtract", "divide")}
    evidence.record(found.measurement("rate of changed answers", **others))
