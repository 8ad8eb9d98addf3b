"""Neurons over prompts: what the plain forward has there, and what a push does to them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from lazarus_probe.hooks import ActivationStore, hooked, trace
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.introspection.directions.direction_file import Direction
from lazarus_probe.introspection.probing.neuron_map import NeuronMap, neuron_map, read_neurons
from lazarus_probe.subject import Subject

PROMPTS = ["7 * 8 = ", "12 + 5 = ", "3 - 1 = "]


def direction(layer: int, seed: int = 0) -> Direction:
    """A random direction of the organism's width."""
    return Direction(np.random.default_rng(seed).normal(size=128).astype(np.float32), layer, "push")


@pytest.mark.parametrize("site", ["resid_post", "neurons"])
def test_neurons_are_those_of_the_plain_forward(
    organism: Subject, site: Literal["resid_post", "neurons"]
) -> None:
    """Each layer's neurons are the site's values at the last token."""
    found = read_neurons(organism, PROMPTS, [1, 4], site)
    for layer, row in ((1, 0), (4, 2)):
        seen = np.array(trace(organism, PROMPTS[row], f"{site}.{layer}").captures[f"{site}.{layer}"][0, -1])
        assert np.allclose(found[layer][row], seen, atol=1e-4)


def test_a_push_adds_the_direction_where_it_was_read(organism: Subject) -> None:
    """At its layer the push adds exactly c times the direction, below it nothing, above it something else."""
    push = direction(3)
    store = ActivationStore()
    plain = read_neurons(organism, PROMPTS, [2, 3, 5], store=store)
    pushed = read_neurons(organism, PROMPTS, [2, 3, 5], store=store, push=(push, -1.5))
    assert np.allclose(pushed[2], plain[2])
    assert np.allclose(pushed[3] - plain[3], -1.5 * push.vector, atol=1e-3)
    assert np.abs(pushed[5] - plain[5]).max() > 0.1
    again = read_neurons(organism, PROMPTS, [2, 3, 5], store=store)
    assert np.array_equal(again[3], plain[3])


def test_a_push_that_no_layer_can_see_is_refused(organism: Subject) -> None:
    """Layers that lie before the push, and directions of another width, are named."""
    with pytest.raises(ValueError, match="added after layer 5, and layer 2 lies before it"):
        read_neurons(organism, PROMPTS, [1, 2], push=(direction(5), 1.0))
    with pytest.raises(ValueError, match="give a layer from 6 on"):
        read_neurons(organism, PROMPTS, [5], "neurons", push=(direction(5), 1.0))
    with pytest.raises(ValueError, match="has dimension 3; the model's width is 128"):
        read_neurons(organism, PROMPTS, [5], push=(Direction(np.ones(3, np.float32), 1), 1.0))


def test_statistics_are_those_of_numpy(organism: Subject) -> None:
    """Minimum, maximum, mean and deviation of each column; weights are by neuron."""
    values = read_neurons(organism, PROMPTS, [2])[2][:, [5, 9]]
    found = NeuronMap("m", "resid_post", [5, 9], ["N5", "N9"], PROMPTS, None, {2: values}, {5: 0.5})
    for each, column in zip(found.stats(2), values.astype(np.float64).T, strict=True):
        assert (each["min_val"], each["max_val"]) == (column.min(), column.max())
        assert (each["mean_val"], each["std_val"]) == pytest.approx((column.mean(), column.std()))
    assert [each["weight"] for each in found.stats(2)] == [0.5, None]
    assert found.as_data()["activations"]["2"] == values.tolist()
    assert "N9" in found._repr_html_()


def test_outlier_dimensions_are_no_part_of_what_a_direction_shows(organism: Subject) -> None:
    """A coordinate that is huge in any prompt is named, and left out of a direction's largest; not of those asked."""
    push, shown = np.zeros(128), direction(3)
    push[7], shown.vector[7], shown.vector[9] = 9000.0, 50.0, 40.0
    plain = neuron_map(organism, PROMPTS, [3], direction=shown, top=3)
    assert (plain.neurons[:2], plain.notes(), plain.left_out) == ([7, 9], [], [])
    with hooked(organism, interventions=[steer("resid_post.3", push, 1.0)]):
        result = neuron_map(organism, PROMPTS, [3], direction=shown, top=3)
        kept = neuron_map(organism, PROMPTS, [3], direction=shown, top=3, keep_outliers=True)
        asked = neuron_map(organism, PROMPTS, [3], neurons=[7, 8])
    assert result.neurons == [9, *plain.neurons[2:], result.neurons[-1]]
    assert 7 not in result.neurons
    assert result.notes()[0].startswith("Left out: N7 is an outlier dimension, large in any prompt (")
    assert result.as_data()["outliers_left_out"] == [7]
    assert kept.neurons == plain.neurons
    assert kept.notes()[0].startswith("N7 is an outlier dimension")
    assert asked.neurons == [7, 8]
    assert asked.notes() == kept.notes()
