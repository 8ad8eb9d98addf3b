"""The tasks of the study: their class words, their splits, and what the bundled model makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.experiments.study_tasks import TASKS, Item, split
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy
from lazarus_probe.training.dual_reward import class_tokens
from tests.cases import slow_except

EVERY = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


def answered(subject: Subject, name: str) -> float:
    """The share of a task's items that a model answers."""
    task = TASKS[name]
    items = task.items(per_label=30)
    said = greedy(subject, [item.prompt for item in items], task.max_tokens)
    return float(np.mean([task.is_right(text, item) for text, item in zip(said, items, strict=True)]))


@EVERY
def test_class_words_give_nothing_away(organism, name):
    """A class word is one token of its own, in no prompt and in no answer."""
    task = TASKS[name]
    tokens = class_tokens(organism, task.words)
    assert set(tokens) == set(task.labels)
    assert len(set(tokens.values())) == len(task.labels)
    for item in task.items():
        assert not set(organism.encode(item.prompt + item.response)) & set(tokens.values())


@EVERY
def test_class_words_have_a_direction_of_their_own(organism, name):
    """No other token's row of the vocabulary points where a class word's does; those never met share one."""
    rows = np.array(organism.anatomy.embedding.weight)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def nearest(token: int) -> float:
        return float(np.sort(rows @ rows[token])[-2])

    assert max(nearest(token) for token in class_tokens(organism, TASKS[name].words).values()) < 0.95
    assert nearest(organism.single_token("code")) > 0.99


@EVERY
def test_items_are_drawn_once(name):
    """No prompt comes twice, no label has more than asked for, and a seed gives the same items again."""
    task = TASKS[name]
    items = task.items(seed=3, per_label=50)
    assert items == task.items(seed=3, per_label=50) != task.items(seed=4, per_label=50)
    assert len({item.prompt for item in items}) == len(items)
    assert {label: sum(i.label == label for i in items) for label in task.labels} == dict.fromkeys(
        task.labels, 50
    )


@EVERY
@pytest.mark.parametrize("seed", range(5))
def test_split_keeps_families_and_templates_apart(name, seed):
    """No family and no template is on both sides, and every label is on each, in two families or more."""
    task = TASKS[name]
    train, held_out = split(task.items(seed), 0.2, seed)
    assert not {item.family for item in train} & {item.family for item in held_out}
    if len({item.template for item in task.items(seed)}) > 1:
        assert not {item.template for item in train} & {item.template for item in held_out}
    assert {item.label for item in train} == {item.label for item in held_out} == set(task.labels)
    for label in task.labels:
        assert len({item.family for item in held_out if item.label == label}) >= 2


def test_sentiment_is_held_out_by_adjective():
    """The deciding word of a held-out review is in no review that is trained on."""
    train, held_out = split(TASKS["sentiment"].items(), 0.2, 0)
    for item in held_out:
        assert item.family in item.prompt
        assert not any(item.family in other.prompt for other in train)


@pytest.mark.parametrize(
    ("items", "share", "message"),
    [
        ((), 0.0, "share is 0; it must lie between 0 and 1"),
        ((), 1.0, "share is 1"),
        ((Item("a", "b", "x", "f"),), 0.2, "1 items cannot be split in two"),
    ],
)
def test_split_refuses(items, share, message):
    """A share that is none, and items that no split can be made of, are refused with their numbers."""
    with pytest.raises(ValueError, match=message):
        split(items, share, 0)


def test_items_refuse_none():
    """No items a label are too few."""
    with pytest.raises(ValueError, match="per_label is 0; at least 1"):
        TASKS["code"].items(per_label=0)


@EVERY
def test_own_response_is_right(name):
    """Every item's own response is right, and nothing at all is not."""
    task = TASKS[name]
    for item in task.items(per_label=40):
        assert task.is_right(item.response, item)
        assert not task.is_right("", item)


@pytest.mark.parametrize(
    ("task", "item", "wrong"),
    [
        ("arithmetic", Item("7 * 8 = ", "56", "multiply", "7,8"), "560"),
        (
            "sentiment",
            Item("The film was great. This review is", " positive", "positive", "great"),
            " negative",
        ),
        ("code", Item("while x <", " 3: x += 4", "code", "while"), " the river."),
        ("code", Item("The cat saw", " the ball at night.", "prose", "The cat"), " 3: x += 4"),
        ("code", Item("The cat saw", " the ball at night.", "prose", "The cat"), " the ball at"),
    ],
)
def test_wrong_answers_are_wrong(task, item, wrong):
    """A number that begins alike, the other sentiment, a line of the other kind or without an end: all wrong."""
    assert not TASKS[task].is_right(wrong, item)


@pytest.mark.parametrize("name", slow_except(TASKS, *(name for name in TASKS if name != "code")))
def test_bundled_model_answers(organism, name):
    """The tasks are ones that the bundled model can do, and an untrained model cannot."""
    assert answered(organism, name) >= 0.85
    assert answered(organism.untrained(seed=1), name) < 0.5
