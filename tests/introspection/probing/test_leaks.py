"""Prompts that belong together: matched across classes, or of the same words."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.probing.leaks import across, check_leaks, default_units, matched

THINGS = ["film", "book", "meal", "song", "trip", "game"]


def sets_of(numbers):
    """The rows of each number that several have."""
    return sorted([np.flatnonzero(np.array(numbers) == number).tolist() for number in set(numbers)])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([f"I loved the {thing}" for thing in THINGS], [f"I hated the {thing}" for thing in THINGS]),
        (
            [f"I loved the {thing} and felt happy" for thing in THINGS],
            [f"I hated the {thing} and felt sad" for thing in THINGS],
        ),
        ([f"7*{a}=" for a in range(2, 9)], [f"7+{a}=" for a in range(2, 9)]),
        (
            ["The film was good", "They won the match", "We enjoyed the concert", "He passed his exam"],
            ["The film was bad", "They lost the match", "We hated the concert", "He failed his exam"],
        ),
    ],
)
def test_matched_pairs_are_kept_together(first, second):
    """Every prompt is with the one of the other class that differs from it in the words of the class alone."""
    count = len(first)
    numbers = matched([*first, *second], ["a"] * count + ["b"] * count)
    assert sets_of(numbers) == [[row, row + count] for row in range(count)]


def test_all_orders_of_a_pair_are_one():
    """Prompts of the same words are together with each other and with their matches."""
    classes = {sign: [f"{a}{sign}{b}=" for a, b in ((2, 3), (3, 2), (4, 5), (5, 4))] for sign in "*+"}
    prompts = [prompt for of_class in classes.values() for prompt in of_class]
    assert sets_of(matched(prompts, [*"****++++"])) == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_what_is_alike_by_chance_or_by_a_template_is_left_alone():
    """Words drawn at random, one template for all prompts, and prompts that share little are no matched design."""
    rng = np.random.default_rng(0)
    for count in (8, 20, 60):
        sums = [f"{a} + {b} = " for a, b in rng.choice(90, (count, 2))]
        labels = [str(sum(map(int, text[:-3].split(" + "))) % 2) for text in sums]
        assert len(set(matched(sums, labels))) == len({tuple(sorted(text.split())) for text in sums})
    template = [f"I saw a {thing}" for thing in ("dog", "cat", "cow", "car", "bus", "van")]
    assert len(set(matched(template, [*"aaavvv"]))) == 6
    capitals = ["The capital of France is", "Name the capital of Sweden:", "7 * 8 = ", "12 + 30 = "]
    assert len(set(matched(capitals, [*"ccss"]))) == 4


def test_no_class_is_left_with_one_group():
    """Matches that would leave nothing to split are not made; neither is anything of a prompt in two classes."""
    assert default_units(["a b c", "a b d"], ["x", "y"]) == ["a b c", "a b d"]
    assert default_units(["a", "b", "a"], ["x", "x", "y"]) == ["a", "b", "a"]


def test_prompts_of_a_unit_with_two_labels_are_counted():
    """Only units of more than one label count, each with all of its prompts."""
    assert across(np.array([*"aabbcd"]), np.array([*"xyxxyx"])) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3*7=", "7 * 3 ="),
        ("I loved it", "I loved it "),
        ("I loved it", "I  loved it"),
        ("I loved it", "i loved it."),
        ("caf\u00e9", "cafe\u0301"),
    ],
    ids=["spaces", "space at the end", "two spaces", "capital and full stop", "composed"],
)
def test_one_content_written_in_two_ways_leaks(first, second):
    """Spaces, capitals, the sign at the end and the encoding of accents make no other prompt."""
    prompts = [first, second, "12+5="]
    with pytest.raises(
        ValueError, match="have the same words: a probe would be trained on what it is tested on"
    ):
        check_leaks(prompts, prompts, np.array([0, 1, 2]))
    check_leaks(prompts, prompts, np.array([0, 0, 2]))


def test_signs_and_digits_are_content():
    """Another operation, another number and another word are other prompts."""
    prompts = ["3*7=", "3+7=", "37=", "is it?", "was it?"]
    check_leaks(prompts, prompts, np.arange(5))
