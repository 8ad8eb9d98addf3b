"""A task with choices is answered by the likelier of them, whatever a model goes on to write."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lazarus_probe.asking.choice import choice_log_probabilities
from lazarus_probe.experiments.classifier_emergence import readings
from lazarus_probe.experiments.classifier_emergence.material import SMOKE, Material
from lazarus_probe.experiments.study_tasks import TASKS


@pytest.fixture(scope="module")
def material() -> Material:
    """Few reviews."""
    return Material.of(TASKS["sentiment"], replace(SMOKE, per_label=30, others=1))


def test_sentiment_is_a_choice(organism, material, monkeypatch):
    """The model's choice counts, and nothing is generated; it is right where the right word is the likelier."""
    monkeypatch.setattr(readings, "greedy", None)
    right = readings.answered(organism, material)
    prompts = [item.prompt for item in material.held_out]
    both = choice_log_probabilities(organism, prompts, ["positive", "negative"])
    expected = [
        (row[0] > row[1]) == (item.response == " positive")
        for row, item in zip(both, material.held_out, strict=True)
    ]
    assert right.tolist() == expected
    assert right.mean() > 0.95


def test_an_untrained_model_chooses_no_better_than_chance(organism, material):
    """Random weights reach no gate of .80."""
    assert readings.answered(organism.untrained(seed=2), material).mean() < 0.8


def test_a_model_that_cannot_answer_is_asked_a_few_items(organism, material):
    """Sixteen wrong answers settle it; a model that can is asked all, and its share is that of all."""
    arithmetic = Material.of(TASKS["arithmetic"], replace(SMOKE, per_label=60, others=1))
    share, asked = readings.share_answered(organism.untrained(seed=2), arithmetic, 0.5)
    assert (share, asked) == (0, 16)
    share, asked = readings.share_answered(organism, material, 0.8)
    assert (share, asked) == (readings.answered(organism, material).mean(), len(material.held_out))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" positive", True),
        (" The review is Positive.", True),
        (" negative, not positive", False),
        (" positively", False),
        (" great", False),
    ],
)
def test_a_sentiment_in_words_is_read_wherever_it_comes(text, right):
    """The first sentiment that a completion names is its answer."""
    item = next(item for item in TASKS["sentiment"].items() if item.response == " positive")
    assert TASKS["sentiment"].is_right(text, item) is right
