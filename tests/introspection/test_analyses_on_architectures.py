"""Analyses that claims run only where a model answers, on architectures where a tiny random one does not.

A random model's own words are taken for right, so that nothing is left out; what must hold is that hooks meet their
sites and that what is put back changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.effects import Task, layers_ablation_effect, max_ablation_effect
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.lens.lens_emergence import lens_emergence, read_tokens
from lazarus_probe.introspection.patching.injection import inject, injection
from lazarus_probe.introspection.steering.steer import Behaviour, steering
from lazarus_probe.introspection.vocabulary.positive_controls import word_read
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models

sys.path.insert(0, str(Path(__file__).parents[1] / "hypotheses"))
import checkpoints

from tests.cases import slow_except

# What is to know of gemma3 in mlx-lm does not matter here.
pytestmark = pytest.mark.filterwarnings("ignore::lazarus_probe.checkpoints.differences.CheckpointWarning")
ARCHITECTURES = ("gpt_oss", "gemma3", "olmoe", "granite", "llama", "qwen3")
PROMPTS = [f"{a} * {b} = " for a in range(2, 10) for b in (3, 7, 12)] + ["The capital of France is"]


@pytest.fixture(scope="module", params=slow_except(ARCHITECTURES, "gpt_oss"))
def model(request, tmp_path_factory):
    """A tiny random model of an architecture, loaded as a user's."""
    return Subject.load(checkpoints.save(request.param, tmp_path_factory.mktemp("model") / request.param))


@pytest.fixture(scope="module")
def task(model):
    """What the model says of each prompt, taken for right."""
    said = greedy_completions(model, PROMPTS, max_tokens=2)
    return Task(PROMPTS, said, PROMPTS, lambda i, text: text == said[i], 2)


def test_ablation_meets_every_component(model, task):
    """Attention, MLPs and mixtures are ablated, alone and together, and heads drawn from all layers."""
    single = [(Site(kind, layer),) for layer in range(2) for kind in ("attn_out", "mlp_out")]
    found = max_ablation_effect(model, task, single, (Site("mlp_out", 0), Site("mlp_out", 1)))
    assert found.details["component"] in [str(each[0]) for each in single]
    assert {curve.name for curve in found.curves} == {"attn_out broken", "mlp_out broken"}
    attention = layers_ablation_effect(model, task, "attn_out", [1], [[0]], unaffected=task)
    assert [control.name for control in attention.controls] == ["other_layers", "random_heads", "other_task"]
    assert attention.controls[2].gain == 0


def test_the_lens_ends_in_what_is_said(model):
    """The token on top after the last layer is the one that the model says."""
    found = read_tokens(model, PROMPTS, [[token] for token in range(3, 3 + len(PROMPTS))])
    said = greedy_completions(model, PROMPTS, max_tokens=1)
    for token, text in zip(found.top_tokens[:, -1].tolist(), said, strict=True):
        assert token in model.eos_token_ids or model.decode([token]).strip() == text.strip()
    targets = [[token] for token in range(3, 3 + len(PROMPTS))]
    measured = lens_emergence(model, control_models(model), PROMPTS, targets, PROMPTS, 1, before=0)
    assert len(measured.curves) == 2
    kinds = ["other_target", "earlier_layer", "untrained", "new_blocks", "permuted_blocks"]
    assert [control.name for control in measured.controls] == kinds


def test_a_state_put_back_changes_nothing(model):
    """A prompt's own state, put in where it was, leaves what is said; another's is measured."""
    site = Site("resid_post", 0)
    own = collect(model, PROMPTS, [site])[site].astype(np.float32)
    assert inject(model, PROMPTS, own, site, max_tokens=3) == greedy_completions(model, PROMPTS, max_tokens=3)
    rolled = [*PROMPTS[1:], PROMPTS[0]]
    found = injection(model, PROMPTS, rolled, [1.0] * len(PROMPTS), PROMPTS, 0)
    assert len(found.controls) == 3


def test_steering_by_nothing_is_the_model(model):
    """Steered with strength 0 the share turned is the unsteered one, and with a push it is a share."""
    behaviour = Behaviour(PROMPTS[:12], PROMPTS[12:24], PROMPTS[:12], PROMPTS[12:24], lambda t: "1" in t, 2)
    still = steering(model, behaviour, 0, 0.0)
    assert {control.name: control.score for control in still.controls}["unsteered"] == still.score
    assert still.damage.score == 0
    assert 0 <= steering(model, behaviour, 1, 2.0).score <= 1


def test_a_word_is_put_in_and_read(model):
    """After the last block a word that outweighs the state a hundred times is on top, whatever the norms and caps."""
    words = [[token] for token in range(3, 3 + len(PROMPTS))]
    assert word_read(model, PROMPTS, words, model.num_layers - 1, strength=100.0).mean() > 0.9
