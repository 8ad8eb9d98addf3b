"""Activations made by hand, of prompts in templates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lazarus_probe.circuit.activations import Collected
from lazarus_probe.circuit.dataset import PromptSet


@pytest.fixture(scope="session")
def planted() -> Callable[..., Collected]:
    """Random activations (96 prompts of 24 templates, 2 layers); layer 1 moves along a direction with the label."""

    def make(size: float = 4.0, seed: int = 0, width: int = 12, labelled: bool = True) -> Collected:
        rng = np.random.default_rng(seed)
        templates = np.repeat(np.arange(24), 4)
        labels = templates % 2
        noise = rng.normal(size=(2, 24, width))[:, templates] + 0.3 * rng.normal(size=(2, 96, width))
        direction = rng.normal(size=width)
        noise[1] += size * labels[:, None] * direction / np.linalg.norm(direction)
        texts = tuple(f"w{t} x{i % 4}" for i, t in enumerate(templates.tolist()))
        about: dict[str, Any] = {}
        if labelled:
            about["groups"] = tuple(f"t{t}" for t in templates.tolist())
            about["label_names"] = tuple("yes" if label else "no" for label in labels)
        values = tuple(labels.tolist()) if labelled else (None,) * 96
        categories = tuple("ab"[label] for label in labels) if labelled else (None,) * 96
        hidden = {layer: noise[layer].astype(np.float32) for layer in (0, 1)}
        prompts = PromptSet(texts, values, categories, **about)
        return Collected("made", None, 2, width, "last", prompts, hidden, {}, {}, {})

    return make
