"""What passes: behaviours by name, numbers by value, anything else as a substring."""

from __future__ import annotations

import pytest

from lazarus_probe.introspection.ablation.criteria import criterion_of, is_coherent


@pytest.mark.parametrize(
    ("criterion", "passing", "failing"),
    [
        (
            "function_call",
            [
                " <function_call>get_weather(here)",
                '{"name": "f"}',
                "get_time(Oslo)",
                '[get_time(city="Oslo")]',
            ],
            ["the weather", '{"name": "Bob", "age": 3}'],
        ),
        ("sorry", ["Sorry, no", "I apologise", "We apologize"], ["sorrow"]),
        ("positive", [" positive", "It is GREAT"], ["goodbye", "negative"]),
        ("negative", [" negative", "awful."], ["badge", "positive"]),
        (
            "refusal",
            ["I cannot help", "I can't", "I won\u2019t", "Sorry, I am unable to do that."],
            [
                "a tin can",
                "declined interest rates? no",
                "I can't wait to help",
                "Sorry, here is how to bake.",
            ],
        ),
        ("2209", ["2209", " 2,209", "2209.", "2209\n1"], ["22090", "12209", "It is 2209", "220"]),
        ("2,209", ["2209"], ["2"]),
        ("100", ["100", "100 apples"], ["1000", "10"]),
        ("-3", ["-3"], ["3"]),
        ("2.5", ["2.5"], ["2", "25"]),
        ("Paris", ["in Paris."], ["paris"]),
        ("4 apples", ["24 apples"], ["4"]),
    ],
)
def test_criteria(criterion, passing, failing):
    """A criterion passes what shows it, and nothing else."""
    found = criterion_of(criterion)
    assert found.name == criterion
    assert [text for text in passing if not found.passes(text)] == []
    assert [text for text in failing if found.passes(text)] == []


def test_functions_and_nothing():
    """A function is its own criterion; an empty text is none."""
    assert criterion_of(str.isdigit).passes("12")
    assert criterion_of(str.isdigit).name == "isdigit"
    with pytest.raises(ValueError, match="the criterion is empty; give function_call"):
        criterion_of("")


@pytest.mark.parametrize(
    ("text", "coherent"),
    [
        ("The capital of France is Paris.", True),
        ("56", True),
        ("", False),
        (" \n", False),
        ("ab" * 40, False),
        ("the the the the the the the the cat", False),
    ],
)
def test_coherence(text, coherent):
    """One thing over and over is not coherent."""
    assert is_coherent(text) is coherent
