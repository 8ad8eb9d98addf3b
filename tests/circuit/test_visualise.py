"""Pictures: there, of a size, and not blank."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from lazarus_probe.circuit import visualise
from lazarus_probe.circuit.geometry import analyse, components
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject import Subject
from tests.cases import slow_except

STRANGE = ["$x", "_a", "\n", "\x00", "ש", "😀", "a" * 50, " "]


def picture(path: Path) -> np.ndarray:
    """A picture (H, W, 3), once it was found to be one and not blank."""
    pixels = imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 150
    assert pixels.std() > 0.02
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
    return pixels


def test_components(planted: Callable[..., Any], tmp_path: Path):
    """The points are there, in a colour for each label: blue and orange."""
    path = tmp_path / "p.png"
    visualise.draw_components(components(planted().hidden[1], 1), ["$no", "_yes"] * 48, path)
    pixels = picture(path).reshape(-1, 3)
    for colour in ([0.12, 0.47, 0.71], [1.0, 0.5, 0.05]):
        assert (np.abs(pixels - colour).max(axis=1) < 0.3).sum() > 500
    visualise.draw_components(components(planted().hidden[1], 1), ["one"] * 96, tmp_path / "q.png")
    assert not np.array_equal(picture(tmp_path / "q.png"), picture(path))


@pytest.mark.parametrize("layers", slow_except([[1], [0, 1]], [1]))
def test_probes(planted: Callable[..., Any], tmp_path: Path, layers: list[int]):
    """Probe accuracy is drawn for one layer and for several, a panel a property."""
    found = analyse(planted(), layers, draws=39)
    visualise.draw_probes([found.binary, found.category], tmp_path / "two.png")
    visualise.draw_probes([found.binary], tmp_path / "one.png")
    assert picture(tmp_path / "two.png").shape[1] > 1.8 * picture(tmp_path / "one.png").shape[1]


def test_attention(tmp_path: Path):
    """A heatmap shows strong attention brighter, whatever the tokens are called."""
    weights = np.zeros((2, 8))
    weights[0, 3] = 1.0
    visualise.draw_attention_from(weights, STRANGE, "$title", tmp_path / "a.png")
    pixels = picture(tmp_path / "a.png")
    yellow = (np.abs(pixels - [0.99, 0.91, 0.14]).max(axis=2) < 0.05).mean()
    assert 0.01 < yellow < 0.3
    visualise.draw_attention(np.tril(np.full((2, 8, 8), 0.3)), STRANGE, "all", tmp_path / "b.png")
    pixels = picture(tmp_path / "b.png")
    yellow = np.abs(pixels - [0.99, 0.91, 0.14]).max(axis=2) < 0.05
    assert yellow[
        :, int(0.85 * yellow.shape[1]) :
    ].any()  # the bar beside panels in which nothing is so bright
    assert not yellow[:, : int(0.85 * yellow.shape[1])].any()


def test_short_tokens_stand_upright():
    """Below a map a sign is written as it is read, and only longer names are turned; each has its own place."""
    figure, axes = visualise._figure(6, 4)
    visualise._heatmap(axes, np.ones((1, 4)), ["head 0"], ["7", "*", "<|begin|>", "="])
    figure.canvas.draw()
    labels = {text.get_text(): text.get_rotation() for text in axes.get_xticklabels()}
    assert labels == {"7": 0, "*": 0, "<|begin|>": 90, "=": 0}


def test_lens(grouped: Subject, tmp_path: Path):
    """The curves are the logit lens's probabilities of the final top tokens."""
    curves = visualise.draw_lens(grouped, "Paris is 7 +", tmp_path / "l.png", top=3)
    picture(tmp_path / "l.png")
    lens = logit_lens(grouped, ["Paris is 7 +"])
    top = lens.top_tokens(3)[0, -1]
    for token, values in zip(top.tolist(), curves.values(), strict=True):
        np.testing.assert_allclose(values, lens.probability(token)[0])


def test_patterns(grouped: Subject):
    """Patterns of a run have a row and a column a token, and rows that add up to 1."""
    patterns, tokens = visualise.patterns_of(grouped, "7 + 1", [0, 2])
    assert list(patterns) == [0, 2]
    assert patterns[2].shape == (4, len(tokens), len(tokens))
    np.testing.assert_allclose(patterns[2].sum(axis=-1), 1.0, atol=1e-5)
