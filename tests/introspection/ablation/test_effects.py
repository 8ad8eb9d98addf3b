"""Components whose loss breaks answers: a model with one planted component, and one where none matters more."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.effects import (
    Task,
    ablate_each,
    layers_ablation_effect,
    max_ablation_effect,
)
from lazarus_probe.introspection.ablation.methods import ablated_completions, reference_rows, replacement
from lazarus_probe.subject import Subject

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def planted(make_llama, tokenizer):
    """Says the letter after the one it reads, and does so in the MLP of layer 2 alone."""
    model = make_llama(0, hidden_size=64, intermediate_size=64, vocab_size=64, tie_word_embeddings=False)

    def silent(name, value):
        if "norm" in name:
            return mx.ones_like(value)
        return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

    model.update(tree_map_with_path(silent, model.parameters()))
    model.model.embed_tokens.weight = mx.eye(64)
    turn = np.zeros((64, 64), np.float32)
    known = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in LETTERS]
    for read, said in zip(known, known[1:] + known[:1], strict=True):
        turn[said, read] = 1
    mlp = model.model.layers[2].mlp
    mlp.gate_proj.weight, mlp.up_proj.weight = 8 * mx.eye(64), 8 * mx.eye(64)
    mlp.down_proj.weight = mx.array(turn)
    model.lm_head.weight = mx.eye(64)
    return Subject.from_model(model, tokenizer, "planted")


@pytest.fixture(scope="module")
def task(planted):
    """Two-letter prompts, right where the next letter follows."""
    prompts = [first + last for last in LETTERS for first in "mq" if len(planted.encode(first + last)) == 3]
    following = dict(zip(LETTERS, LETTERS[1:] + LETTERS[:1], strict=True))
    task = Task(
        prompts,
        [following[prompt[-1]] for prompt in prompts],
        [prompt[-1] for prompt in prompts],
        lambda i, text: text == following[prompts[i][-1]],
        max_tokens=1,
    )
    assert task.answered(planted).all()
    return task


def test_the_planted_component_breaks_and_no_other(planted, task):
    """Without the MLP that answers everything breaks, without any other layer's nothing does."""
    found = ablate_each(
        planted, task, [(Site(kind, n),) for n in range(4) for kind in ("attn_out", "mlp_out")]
    )
    assert found.broken.mean(axis=1).tolist() == pytest.approx([0, 0, 0, 0, 0, 1, 0, 0], abs=0.1)
    assert found.broken.mean(axis=1)[5] > 0.9


def test_broken_is_what_a_hand_made_loop_says(planted, task):
    """Each cell is whether the ablated model, asked on its own, says something else."""
    site = Site("mlp_out", 2)
    rows = reference_rows(planted, task.prompts, [site])[site]
    edits = {site: replacement(AblationType.MEAN, rows)}
    effects = ablate_each(planted, task, [(site,)])
    for i in (0, 7, 20):
        completion = ablated_completions(planted, [task.prompts[i]], edits, 1)[0]
        assert effects.completions[0][i] == completion
        assert effects.broken[0, i] == (completion != task.expected[i])


def test_the_worst_component_is_tested_on_other_prompts(planted, task):
    """The component that is chosen is the planted one, and only the other half of the units is counted."""
    single = [(Site("mlp_out", layer),) for layer in range(4)]
    found = max_ablation_effect(planted, task, single, tuple(Site("mlp_out", layer) for layer in range(4)))
    assert found.details["component"] == "mlp_out.2"
    assert found.score > 0.9
    assert (found.n, found.groups) == (len(task.prompts) // 2, 13)
    spared = max_ablation_effect(planted, task, [single[0], single[1]], single[2])
    assert spared.score == 0
    assert spared.controls[0].gain > 0.9


def test_a_window_stands_beside_the_others(planted, task):
    """The planted layer gains over other layers and another task; attention, which does nothing, over nothing."""
    echo = task.take(range(10))
    right = layers_ablation_effect(planted, task, "mlp_out", [2], [[0], [1], [3]], unaffected=echo)
    assert right.score > 0.9
    assert {control.name: control.score > 0.5 for control in right.controls} == {
        "other_layers": False,
        "other_task": True,
    }
    wrong = layers_ablation_effect(planted, task, "attn_out", [2], [[0], [1], [3]])
    assert wrong.score == 0
    assert [control.name for control in wrong.controls] == ["other_layers", "random_heads"]
    assert right.curves[0].y[2] == pytest.approx(right.score)
    # What was planted is what the model says of anything: its loss damages all that it is asked.
    assert right.damage.low > 0.5
    assert wrong.damage.score == pytest.approx(0, abs=1e-6)


def test_random_weights_have_no_such_component(grouped):
    """In a random model, on whatever it says, no layer gains on the mean of the others by the margin of a claim."""
    prompts = [a + b for a in "abcdefgh" for b in "mnopqrst"]
    own = ablated_completions(grouped, prompts, {}, 1)
    task = Task(prompts, own, [prompt[0] for prompt in prompts], lambda i, text: text == own[i], 1)
    gains = [
        layers_ablation_effect(grouped, task, "mlp_out", [n], [[m] for m in range(4) if m != n])
        .controls[0]
        .low
        for n in range(4)
    ]
    assert np.sum(np.array(gains) > 0.25) == 0


def test_rows_keep_their_own_answers(task):
    """What is right moves with the prompts when some are taken."""
    few = task.take([5, 3])
    assert few.graded([str(task.expected[5]), str(task.expected[5])]).tolist() == [True, False]


def test_too_few_are_refused(planted, task):
    """A window with nothing to compare it with and a choice without two halves are refused."""
    with pytest.raises(ValueError, match="no other layers to compare"):
        layers_ablation_effect(planted, task, "mlp_out", [0], [])
    with pytest.raises(ValueError, match="independent units; give at least 4"):
        max_ablation_effect(planted, task.take([0, 1]), [(Site("mlp_out", 0),)], (Site("mlp_out", 1),))
