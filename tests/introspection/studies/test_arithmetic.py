"""Systematic arithmetic: balanced questions, exact scoring, and layers read off the lens."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from lazarus_probe.introspection.generation.continuation import answer_start
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.introspection.studies import arithmetic as module
from lazarus_probe.introspection.studies.arithmetic import (
    ArithmeticResult,
    arithmetic,
    first_layer,
    share,
    stable_layer,
)
from lazarus_probe.introspection.studies.arithmetic_questions import Question, difficulty_of, questions
from lazarus_probe.statistics.intervals import wilson
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.tasks.arithmetic import LARGEST_MINUEND, LARGEST_OPERAND, Fact, is_answer
from lazarus_probe.tasks.numbers import CutText
from tests.tolerance import in_order, of_logits, sole_best


@pytest.fixture(scope="module")
def plain(organism) -> ArithmeticResult:
    """A few questions of every kind as plain text."""
    return arithmetic(organism, questions(3), raw=True)


def test_there_are_156_questions_in_range():
    """Thirteen of each operation and difficulty, no family twice in one, all within what the organism was taught."""
    asked = questions()
    cells = Counter((each.fact.operation, each.difficulty) for each in asked)
    assert len(asked) == 156
    assert set(cells.values()) == {13}
    assert len({(each.fact.operation, each.difficulty, each.fact.family) for each in asked}) == 156
    for each in asked:
        assert difficulty_of(each.fact) == each.difficulty
        assert 2 <= each.fact.b <= LARGEST_OPERAND
        limit = {"divide": LARGEST_OPERAND**2, "subtract": LARGEST_MINUEND}.get(
            each.fact.operation, LARGEST_OPERAND
        )
        assert 2 <= each.fact.a <= limit
    assert questions() == asked
    assert questions(seed=1) != asked


def test_some_difficulties_are_some_of_the_same_questions():
    """What is asked at one difficulty does not depend on whether the others are asked."""
    assert questions(difficulties=["easy"]) == [each for each in questions() if each.difficulty == "easy"]


@pytest.mark.parametrize(
    ("fact", "difficulty"),
    [
        (Fact("multiply", 7, 8), "easy"),
        (Fact("divide", 56, 8), "easy"),
        (Fact("subtract", 40, 9), "medium"),
        (Fact("add", 47, 38), "hard"),
        (Fact("multiply", 1, 8), None),
    ],
)
def test_difficulty_is_of_the_parts(fact, difficulty):
    """A quotient is as hard as the product that it undoes, and what has a part of 1 is not asked."""
    assert difficulty_of(fact) == difficulty


def test_layers_are_read_off_the_tokens_on_top():
    """The first layer with the token on top, and the first from which on it stays there."""
    flickers = np.array([False, True, False, True, True])
    assert (first_layer(flickers), stable_layer(flickers)) == (1, 3)
    assert (first_layer(~flickers), stable_layer(~flickers)) == (0, None)
    assert (first_layer(flickers & False), stable_layer(flickers | True)) == (None, 0)


def test_layers_and_peaks_are_those_of_the_lens(organism, plain):
    """The lens, run on every part of an answer alone, has all of its tokens on top after the same layers."""
    for each in plain.results[::6]:  # an answer of two tokens among them
        ids, start = answer_start(organism, each.question.prompt, str(each.question.fact.answer))
        on_top, probability = np.ones(organism.num_layers, bool), np.ones(organism.num_layers)
        for position in range(start, len(ids)):
            lens = logit_lens(organism, [ids[:position]])
            tops = [sole_best(row, of_logits(organism, row)) for row in lens.log_probs[0]]
            on_top &= np.array(tops) == ids[position]
            probability *= lens.probability(ids[position])[0]
        assert each.emergence_layer == first_layer(on_top)
        assert each.stable_layer == stable_layer(on_top)
        assert in_order([each.peak_layer], probability, of_logits(organism, np.log(probability.max())))
        assert each.peak_probability == pytest.approx(probability.max(), rel=1e-4)
        assert each.tokens == len(ids) - start


def test_answers_are_scored_by_their_number(plain):
    """The organism answers all, as its text parsed to the end says, and the right answers emerge and stay."""
    assert all(each.correct == is_answer(each.output, each.question.fact.answer) for each in plain.results)
    assert plain.overall.accuracy == 1.0
    assert all(each.stable_layer is not None for each in plain.results)
    assert plain.emerged == 1.0
    assert plain.other_emerged < 0.2


def test_shares_are_of_right_answers_alone(plain):
    """Accuracy has Wilson's interval, and layers are averaged over right answers only."""
    some = plain.results[:6]
    spoilt = [*some[:4], *(type(each)(**{**vars(each), "correct": False}) for each in some[4:])]
    found = share(spoilt)
    interval = wilson(4, 6)
    assert (found.accuracy, found.n, found.low, found.high) == (4 / 6, 6, interval.low, interval.high)
    assert found.avg_emergence == pytest.approx(np.mean([each.emergence_layer for each in some[:4]]))


def test_an_untrained_model_answers_nothing(organism):
    """No question is answered by an untrained model, no answer becomes stable, and there is no average layer."""
    found = arithmetic(organism.untrained(0), questions(3), raw=True)
    assert found.overall.accuracy == 0
    assert found.overall.avg_emergence is None
    assert all(each.emergence_layer is None for each in found.results)
    assert found.emerged <= found.other_emerged


def test_data_has_the_published_keys(plain):
    """The published keys stand first, in the data and in each result, and all of it is JSON."""
    data = json.loads(json.dumps(plain.as_data()))
    assert list(data)[:5] == ["model_id", "num_layers", "total_tests", "stats", "results"]
    assert set(data["stats"]) == {"by_operation", "by_difficulty", "by_magnitude"}
    assert list(data["stats"]["by_difficulty"]["hard"])[:2] == ["accuracy", "avg_emergence"]
    keys = ["prompt", "expected", "operation", "difficulty", "magnitude", "final_prediction", "correct"]
    assert list(data["results"][0])[:10] == [*keys, "emergence_layer", "peak_layer", "peak_probability"]
    assert data["total_tests"] == len(data["results"]) == 36
    assert plain._repr_html_().count("<tr>") == 37


def test_spaces_before_an_answer_are_passed_over(grouped):
    """Where a model puts a space before its answer, the lens is read after it, at the answer's own first token."""
    ids, start = answer_start(grouped, "7 * 8 =", " 56")
    assert grouped.decode(ids[start:]) == "56"
    assert grouped.decode(ids[:start]).endswith("= ")


def test_in_a_chat_answers_are_read_wherever_they_come(organism, monkeypatch):
    """Words and the question before a number are skipped, a cut one is none, and the lens reads where it begins."""
    chosen = [
        Question(Fact("multiply", 7, 8), "easy", "medium"),
        Question(Fact("multiply", 6, 9), "easy", "medium"),
    ] * 2
    outputs = ["7 * 8 is 56", CutText("The answer is: 6 *"), CutText("It is 56"), "6 times 9 equals 54."]
    monkeypatch.setattr(module, "greedy", lambda *_: outputs)
    tests = arithmetic(organism, chosen).results
    assert [test.correct for test in tests] == [True, False, False, True]
    written = in_chat(organism, chosen[0].prompt)
    ids, start = answer_start(organism, written + "7 * 8 is ", "56")
    lens = logit_lens(organism, [ids[:start]])
    assert tests[0].peak_probability == pytest.approx(lens.probability(ids[start])[0].max(), rel=1e-4)


def test_a_limit_leaves_room_for_an_answer_in_words(organism, monkeypatch):
    """In a chat a model has at least 24 tokens beside those of the longest answer."""
    limits, real = [], module.greedy
    monkeypatch.setattr(module, "greedy", lambda *args: limits.append(args[2]) or real(*args))
    question = [Question(Fact("multiply", 47, 47), "hard", "large")]
    arithmetic(organism, question)
    arithmetic(organism, question, raw=True)
    assert limits[0] >= 24 + len(organism.pieces("2209")) > limits[1] >= 12
