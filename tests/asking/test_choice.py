"""Forced choice, held against a naive loop over prompts, spellings and tokens."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.asking.choice import choice_log_probabilities, choose, spellings_of
from lazarus_probe.introspection.generation.continuation import joined
from lazarus_probe.tasks import language


def naive(subject, prompt, candidate):
    """The log probability of a word, one plain forward for each token of each spelling."""
    total, met = 0.0, set()
    for spelling in (candidate, f" {candidate}", candidate.capitalize(), f" {candidate.capitalize()}"):
        try:
            tokens, start = joined(subject, prompt, spelling)
        except ValueError:
            continue
        if (tuple(tokens), start) in met:
            continue
        met.add((tuple(tokens), start))
        product = 1.0
        for at in range(start, len(tokens)):
            logits = np.array(subject.model(mx.array([tokens[:at]]))[0, -1].astype(mx.float32), np.float64)
            product *= np.exp(logits[tokens[at]] - logits.max()) / np.exp(logits - logits.max()).sum()
        total += product
    return np.log(total)


@pytest.mark.parametrize("fixture", ["grouped", "organism"])
def test_it_is_the_naive_loop(fixture, request):
    """Words of one and of several tokens have the log probability that a loop over tokens gives, prompt by prompt."""
    subject = request.getfixturevalue(fixture)
    prompts = ["a b ", "The film was great. This review is", "12 + 3 ="]
    candidates = ["negative", "positively", "ab"]
    values = choice_log_probabilities(subject, prompts, candidates)
    expected = [[naive(subject, prompt, word) for word in candidates] for prompt in prompts]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


def test_the_bundled_model_chooses_and_an_untrained_one_does_not(organism):
    """A model trained on sentiment chooses right everywhere; one of random weights is about as often wrong as right."""
    drawn = list(language.sentiment())[::9]
    prompts, labels = [one.prompt for one in drawn], [one.response.strip() for one in drawn]
    candidates = ["positive", "negative"]
    right = np.mean([a == b for a, b in zip(choose(organism, prompts, candidates), labels, strict=True)])
    untrained = choose(organism.untrained(seed=1), prompts, candidates)
    chance = np.mean([a == b for a, b in zip(untrained, labels, strict=True)])
    assert right > 0.95
    assert chance < 0.75


def test_spellings_are_one_convention():
    """A word counts with and without a space and a capital; a name keeps its own capitals."""
    assert spellings_of(" positive") == ("positive", " positive", "Positive", " Positive")
    assert spellings_of("Paris") == ("Paris", " Paris")
    assert spellings_of("iPhone") == ("iPhone", " iPhone", "IPhone", " IPhone")


@pytest.mark.parametrize(
    ("candidates", "message"),
    [(["positive"], "nothing to choose"), (["a", " A"], "nothing to choose"), (["a", " "], "no candidate")],
)
def test_what_is_no_choice_is_refused(grouped, candidates, message):
    """One candidate, one word twice, or no word is named."""
    with pytest.raises(ValueError, match=message):
        choice_log_probabilities(grouped, ["1 ="], candidates)
