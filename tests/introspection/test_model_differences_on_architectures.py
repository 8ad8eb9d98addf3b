"""Patching and differences where attention slides, blocks normalise after, and the MLP is a mixture of experts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.hooks import hooked, trace
from lazarus_probe.interventions import patch
from lazarus_probe.introspection.geometry.activation_difference import activation_difference
from lazarus_probe.introspection.geometry.weight_difference import weight_difference
from lazarus_probe.introspection.patching.activation_patching import patch_answered
from lazarus_probe.introspection.patching.answered_pairs import answered
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy

sys.path.insert(0, str(Path(__file__).parents[1] / "hypotheses"))
import checkpoints

# What is to know of gemma3 in mlx-lm does not matter here.
pytestmark = pytest.mark.filterwarnings("ignore::lazarus_probe.checkpoints.differences.CheckpointWarning")


@pytest.fixture(scope="module", params=("gpt_oss", "gemma3"))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny random model of an architecture, loaded as a user's."""
    return Subject.load(checkpoints.save(request.param, tmp_path_factory.mktemp("model") / request.param))


@pytest.mark.parametrize(
    ("source", "blend"), [("7 * 8 = ", 1.0), ("7 * 8 = ", 0.4), ("The capital of France is", 1.0)]
)
def test_patched_is_the_hook(model: Subject, source: str, blend: float):
    """Numbers and texts are those of a single run with the state put in by `patch`."""
    target, last = "7 + 8 = ", model.num_layers - 1
    pairs = answered(model, [PromptPair(source, target)], 3)
    sources = {"source": [pairs[0].source]}
    patched = patch_answered(model, pairs, [0, last], [-1], sources, blend=blend, max_tokens=3)["source"]
    clean = trace(model, target)
    for row, layer in enumerate((0, last)):
        site = f"resid_post.{layer}"
        theirs, ours = (trace(model, prompt, site)[site][:, -1] for prompt in (source, target))
        edit = patch(site, blend * theirs + (1 - blend) * ours, len(model.encode(target)) - 1)
        with hooked(model, interventions=edit):
            assert patched.completions[row, 0, 0] == greedy(model, [target], 3)[0]
        logits, before = (
            np.array(run.logits[0, -1].astype(mx.float32), dtype=float)
            for run in (trace(model, target, interventions=edit), clean)
        )
        after, before = (each - np.logaddexp.reduce(each) for each in (logits, before))
        expected = (np.exp(before) * (before - after)).sum()
        assert patched.metrics["kl"][row, 0, 0] == pytest.approx(expected, abs=1e-4)


def test_differences_cover_the_model(model: Subject):
    """Every weight is one row, nothing differs from itself, and another seed differs everywhere it is drawn."""
    same = weight_difference(model, model)
    assert same.total == 0
    assert len({each.name for each in same.results}) == len(same.results)
    count = sum(int(np.prod(each.shape)) for each in same.results)
    parameters: Any = model.model.parameters()
    assert count == sum(weight.size for _, weight in tree_flatten(parameters))
    twin = model.untrained(1)
    assert weight_difference(model, twin).total > 0.5
    found = activation_difference(model, model, ["7*8=", "A cat"])
    assert (found.similarities == 1).all()
    assert (activation_difference(model, twin, ["7*8=", "A cat"]).similarities < 0.99).all()
