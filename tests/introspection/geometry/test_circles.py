"""Words on a circle: planted ones are, in their order alone, and random states or untrained models have none."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.introspection.geometry.circles import agreement, circular_order, other_orders
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted.weights import FIRST, SECOND
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.tasks.calendar import DAYS, MONTHS, SENTENCES

HALVES = np.arange(8) % 2 == 0
WORDS = np.arange(12)


def on_a_circle(rng, noise=0.3, direction=1):
    """(8, 12, 40) states of words on a slanted circle, with what a sentence and chance add."""
    places = direction * 2 * np.pi * WORDS / 12 + 1.0
    plane = np.linalg.qr(rng.normal(size=(40, 2)))[0] * (3.0, 2.0)
    states = np.stack([np.cos(places), np.sin(places)], axis=1) @ plane.T
    return states + 5 * rng.normal(size=(8, 1, 40)) + noise * rng.normal(size=(8, 12, 40))


@pytest.mark.parametrize("direction", [1, -1])
def test_a_planted_circle_is_found_in_its_order_alone(direction):
    """The angles follow the words' order, and no other one, whichever way round and however turned."""
    rng = np.random.default_rng(0)
    states = on_a_circle(rng, direction=direction)
    assert agreement(states, WORDS, HALVES).mean() > 0.9
    others = [agreement(states, order, HALVES).mean() for order in other_orders(12, 10, rng)]
    assert np.mean(others) < 0.4


def test_words_in_no_order_follow_none_better_than_another():
    """The null: words that lie anywhere, the same in all sentences, fit their order as well as others do."""
    gains = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(1, 12, 40)) + 0.3 * rng.normal(size=(8, 12, 40))
        others = [agreement(states, order, HALVES).mean() for order in other_orders(12, 5, rng)]
        gains.append(agreement(states, WORDS, HALVES).mean() - np.mean(others))
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains))


def test_noise_that_differs_between_sentences_follows_nothing():
    """Planes are chosen on other sentences: what does not come again scores about 0, not the fit of a best plane."""
    states = np.random.default_rng(1).normal(size=(400, 7, 10))
    assert abs(agreement(states, np.arange(7), np.arange(400) % 2 == 0).mean()) < 0.1


def test_agreement_is_that_of_a_naive_loop():
    """Plane, direction and turn from the other half, by trying all, then cosines one by one."""
    states = on_a_circle(np.random.default_rng(2), noise=1.0)
    expected = np.empty(8)
    for sentence in range(8):
        kept = [row for row in range(8) if HALVES[row] != HALVES[sentence]]
        means = np.mean([states[row] - states[row].mean(axis=0) for row in kept], axis=0)
        values, vectors = np.linalg.eigh(means.T @ means)
        tried = []
        for i, j in ((-1, -2), (-1, -3), (-2, -3)):
            plane = vectors[:, [i, j]] / np.sqrt(values[[i, j]])
            for sign in (1, -1):
                flat = means @ plane
                off = sign * np.arctan2(flat[:, 1], flat[:, 0]) - 2 * np.pi * WORDS / 12
                tried.append((abs(np.exp(1j * off).mean()), np.angle(np.exp(1j * off).mean()), sign, plane))
        _, turn, sign, plane = max(tried, key=lambda fit: fit[0])
        flat = (states[sentence] - states[sentence].mean(axis=0)) @ plane
        off = sign * np.arctan2(flat[:, 1], flat[:, 0]) - 2 * np.pi * WORDS / 12 - turn
        expected[sentence] = np.cos(off).mean()
    np.testing.assert_allclose(agreement(states, WORDS, HALVES), expected, atol=1e-6)


def test_numbers_of_a_planted_model_lie_on_a_circle():
    """The numbers of the planted successor model go round in twenties, and in a sentence they still do."""
    circuit = planted.successor()
    size = mx.ones(circuit.model.args.hidden_size)
    size[[FIRST, SECOND]] = 6.0  # above what else differs between numbers, which is drawn at random
    circuit.model.model.embed_tokens.weight = circuit.model.model.embed_tokens.weight * size
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    words = [str(number) for number in range(100, 120)]
    sentences = [f"{number} * {{word}}" for number in range(3, 9)]
    measurement = circular_order(subject, control_models(subject, count=3), words, sentences, 0)
    assert measurement.score > 0.9
    gains = {control.name: control.gain for control in measurement.controls}
    assert min(gains["other_order"], gains["untrained"]) > 0.4
    assert gains["new_blocks"] < 0.1, "the circle is in the embeddings, and the control says so"


def test_an_untrained_model_has_no_circle(organism):
    """The null: the months of an untrained model follow their order no better than other orders."""
    model = organism.untrained(3)
    measurement = circular_order(model, control_models(model, count=3), MONTHS, SENTENCES[:8], 1)
    assert next(c for c in measurement.controls if c.name == "other_order").low < 0


def test_what_cannot_be_measured_is_refused(organism):
    """An error names the sentence, the counts, or states that span no plane."""
    models = control_models(organism, count=3)
    with pytest.raises(ValueError, match="4 words and 24 sentences; give at least 5 and 4"):
        circular_order(organism, models, DAYS[:4], SENTENCES, 1)
    with pytest.raises(ValueError, match=r"'on \{word\} morning' does not end in \{word\}"):
        circular_order(organism, models, DAYS, ["on {word} morning"] * 4, 1)
    with pytest.raises(ValueError, match="do not span a plane"):
        agreement(np.zeros((4, 5, 3)), np.arange(5), np.arange(4) % 2 == 0)
