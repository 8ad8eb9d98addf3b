"""In which form a model answers best, chosen on one half of the families and used on the other."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.asking.ability import Completions, _halves, ability
from lazarus_probe.asking.exams import Exam, question_exam, worked_facts
from lazarus_probe.asking.forms import CHAT, FEW_SHOT, LONG_RAW, RAW, REPLY, forms_of
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS, PHRASINGS, Fact
from lazarus_probe.tasks.numbers import CutText
from lazarus_probe.tasks.rewards import parse_question


class Planted(Completions):  # it answers without its subject
    """A model of whose answers `rule(prompt, last line)` tells which are right; it counts what it is asked."""

    def __init__(self, rule):
        super().__init__()
        self.rule, self.prompts = rule, []

    def of(self, subject, prompts, max_tokens, stops=()):  # noqa: ARG002 - as it is called
        self.prompts += prompts
        texts = []
        for prompt in prompts:
            last = prompt.splitlines()[-1].rpartition(">")[2]
            fact = parse_question(last)
            texts.append(f"{fact.answer}" if fact and self.rule(prompt, fact) else "nothing")
        return texts


def products(phrasing="compact", count=64):
    facts = [Fact("multiply", a, b) for a in range(2, 10) for b in range(2, 10)][:count]
    return [prompts.Question(fact.prompt(phrasing), fact, phrasing) for fact in facts]


def few_shot(prompt, _fact):
    return "\n" in prompt


def test_a_model_that_answers_in_worked_examples_alone_is_asked_so(organism):
    """The form in which a planted model answers is named, all questions are asked in it, and the share is its own."""
    store = Planted(few_shot)
    answers = ability(organism, question_exam(products(), at_once=True), 0.5, store)
    assert answers.form is FEW_SHOT
    assert answers.reached
    assert answers.share == 1.0
    assert answers.whole
    assert answers.right.all()
    assert "asked as worked examples (tried: plain text 0 of 16, worked examples 16 of 16" in answers.says(
        "products"
    )
    noted = answers.noted(
        rate("share", answers.right, [q.family for q in products()], {"none": 0 * answers.right})
    )
    assert noted.details["form"] == "worked examples"
    assert noted.details["trial_of_forms"]["worked examples"] == "16 of 16"
    assert {prompt.partition("\n")[0] for prompt in answers.prompts} == {answers.prefix().partition("\n")[0]}
    assert all(
        prompt == answers.prefix() + question.text
        for prompt, question in zip(answers.prompts, products(), strict=True)
    )


def test_the_plainest_form_wins_among_equals(organism):
    """The bundled model answers as it is asked plainly, and is asked so."""
    answers = ability(organism, question_exam(products(), at_once=True), 0.5)
    assert answers.form is RAW
    assert answers.share > 0.95
    assert answers.prompts == [question.text for question in products()]


def test_each_half_is_asked_in_the_form_that_the_other_half_chose(organism):
    """Where the halves disagree, what one half answers best in decides for the other alone, and flatters nobody."""
    questions = products()
    half = _halves([q.family for q in questions], np.array([""] * len(questions)))
    first = {q.family for q, side in zip(questions, half, strict=True) if side == 0}

    def split(prompt, fact):
        return ("\n" in prompt) == ("{},{}".format(*fact.family) in first)

    answers = ability(organism, question_exam(questions, at_once=True), 0.5, Planted(split))
    assert answers.form is FEW_SHOT  # which the first half answers
    assert {questions[row].family for row in answers.rows}.isdisjoint(first)
    assert answers.share == 0
    assert not answers.reached


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("at_once", [True, False])
def test_an_untrained_model_passes_no_gate_in_any_form(organism, seed, at_once):
    """With the best of all forms, a model of random weights answers nothing, and is told after the trial."""
    answers = ability(organism.untrained(seed=seed), question_exam(products(), at_once=at_once), 0.5)
    assert not answers.reached
    assert answers.share < 0.25
    assert len(answers.rows) == 16


@pytest.mark.parametrize(("share", "stops"), [(0.0, True), (0.45, False), (0.55, False), (1.0, False)])
def test_a_gate_stops_early_only_where_the_share_is_out_of_reach(organism, share, stops):
    """A planted model far below the needed share is asked 16 questions; one near it is asked all of them."""
    rng = np.random.default_rng(0)
    facts = prompts.sample_facts("add", 200, rng)
    right = {
        fact for fact, number in zip(facts, rng.permutation(200), strict=True) if number < round(200 * share)
    }
    questions = [prompts.Question(fact.prompt("compact"), fact, "compact") for fact in facts]
    store = Planted(lambda prompt, fact: "\n" not in prompt and "<" not in prompt and fact in right)
    answers = ability(organism, question_exam(questions), 0.5, store)
    assert (len(answers.rows) < 200) == stops
    assert answers.reached == (share >= 0.5)
    if not stops:
        assert answers.share == pytest.approx(share)


def test_a_wrong_stop_is_rare(organism):
    """Of 120 models that reach the share exactly, at most a few in a hundred are cut short."""
    rng = np.random.default_rng(1)
    facts = prompts.sample_facts("add", 128, rng)
    questions = [prompts.Question(fact.prompt("compact"), fact, "compact") for fact in facts]
    exam, stopped = question_exam(questions), 0
    for _ in range(120):
        right = {facts[i] for i in rng.permutation(128)[:64]}
        store = Planted(
            lambda prompt, fact, right=right: "\n" not in prompt and "<" not in prompt and fact in right
        )
        stopped += not ability(organism, exam, 0.5, store).whole
    assert stopped <= 5  # .01 of them are expected at most; six or more have a chance of .002


def test_the_share_is_needed_in_every_class(organism):
    """A model that answers one kind of question alone passes no gate that needs both."""
    questions = products(count=32) + [
        prompts.Question(Fact("add", a, b).prompt("compact"), Fact("add", a, b), "compact")
        for a in range(2, 6) for b in range(2, 10)
    ]  # fmt: skip
    classes = [question.fact.operation for question in questions]
    store = Planted(lambda _prompt, fact: fact.operation == "add")
    answers = ability(organism, question_exam(questions, classes=classes), 0.5, store)
    assert not answers.reached
    assert answers.share == 0
    assert "(multiply)" in answers.says("questions")


def test_the_best_wording_is_chosen_with_the_form(organism):
    """Of two wordings of the same questions the planted model's own is chosen, and named by its first prompt."""
    exams = [question_exam(products(phrasing), at_once=True) for phrasing in ("compact", "spaced")]
    store = Planted(lambda prompt, _fact: "\n" in prompt and " * " in prompt)
    answers = ability(organism, exams, 0.5, store)
    assert answers.exam is exams[1]
    assert answers.form is FEW_SHOT
    assert answers.whole
    assert "asked as worked examples as in '2 * 2 = '" in answers.says("products")
    assert ability(organism, exams, 0.5).exam is exams[0]
    with pytest.raises(ValueError, match="no wordings of one"):
        ability(organism, [exams[0], question_exam(products(count=32), at_once=True)], 0.5)


def test_pairs_are_right_as_a_whole(organism):
    """What is marked together is right if both are."""
    questions = [
        prompts.Question(Fact(name, a, b).prompt("compact"), Fact(name, a, b), "compact")
        for a in range(2, 8) for b in range(2, 8) for name in ("multiply", "add")
    ]  # fmt: skip
    store = Planted(lambda _prompt, fact: fact.operation == "add")
    assert ability(organism, question_exam(questions, together=2), 0.5, store).share == 0


@pytest.mark.parametrize("phrasing", list(PHRASINGS))
def test_no_tested_family_is_among_the_examples(phrasing):
    """Examples are in the phrasing of the question, of every operation tested, and of no tested family."""
    rng = np.random.default_rng(0)
    questions = prompts.questions(rng, per_cell=60, phrasings=[phrasing])
    exam = question_exam(questions)
    families = {question.family for question in questions}
    for shots in set(exam.shots):
        facts = [parse_question(prompt) for prompt, _ in shots]
        assert None not in facts
        assert {fact.operation for fact in facts} == set(OPERATIONS)
        assert families.isdisjoint("{},{}".format(*fact.family) for fact in facts)
        assert [answer for _, answer in shots] == [fact.response(phrasing) for fact in facts]
        assert len(set(shots)) == len(shots)


def test_all_products_of_two_digits_leave_examples_near_them():
    """Where every family of a size is tested, the examples are of the next size."""
    operands = [fact.family for fact in worked_facts(["multiply"], {q.family for q in products()}, 9)]
    assert len(operands) == 3
    assert all(low > 1 and 9 < high <= 12 for low, high in operands)


def test_forms_are_written_as_they_are_read(organism):
    """Worked examples come a line each before the question, a chat has the model's own template, and no more."""
    shots = (("2*3=", "6"), ("4*5=", "20"))
    assert RAW.written(organism, "7*8=") == "7*8="
    assert FEW_SHOT.written(organism, "7*8=", shots) == "2*3=6\n4*5=20\n7*8="
    assert CHAT.written(organism, "7*8=") == in_chat(organism, "7*8=")
    assert REPLY.written(organism, "7*8=") == in_chat(organism, "7*8=") + "7*8="
    assert CHAT.response(" 56") == "56"
    assert RAW.response(" 56") == " 56"
    assert forms_of(organism, at_once=True, shots=True) == (RAW, FEW_SHOT, REPLY)
    assert forms_of(organism, at_once=False, shots=False) == (LONG_RAW, CHAT)
    with pytest.raises(ValueError, match="needs worked examples"):
        FEW_SHOT.written(organism, "7*8=")


def test_a_session_asks_the_same_prompt_once(organism, monkeypatch):
    """Completions are kept by model, prompt, limit and stops, and marked as cut where they were."""
    store, calls = Completions(), []
    import lazarus_probe.asking.ability as module

    real = module.greedy
    monkeypatch.setattr(module, "greedy", lambda *args: calls.append(args[1]) or real(*args))
    first = store.of(organism, ["7*8=", "7+8=", "7*8="], 1)
    again = store.of(organism, ["7+8="], 1)
    assert [len(prompts) for prompts in calls] == [2]
    assert again == [first[1]]
    assert isinstance(again[0], CutText) == isinstance(first[1], CutText)
    store.of(organism, ["7+8="], 2)
    assert len(calls) == 2


def test_an_exam_that_cannot_be_marked_is_refused(organism):
    """Columns of other lengths, a single family, or a share that is none are named."""
    with pytest.raises(ValueError, match="1 answers for 2 prompts"):
        Exam(["a", "b"], ["1"], ["x", "y"], lambda *_: True)
    with pytest.raises(ValueError, match="cannot be marked 2 at a time"):
        Exam(["a"], ["1"], ["x"], lambda *_: True, together=2)
    one = Exam(["a", "b"], ["1", "2"], ["x", "x"], lambda *_: True)
    with pytest.raises(ValueError, match="two families"):
        ability(organism, one, 0.5)
    with pytest.raises(ValueError, match="needed is 2"):
        ability(organism, question_exam(products()), 2)
