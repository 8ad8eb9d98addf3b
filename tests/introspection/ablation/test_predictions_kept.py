"""Predictions kept without blocks of the middle: the mean over blocks of the study, and no finding in random models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.introspection.ablation.edited_runs import kept_after_edits
from lazarus_probe.introspection.ablation.layer_edits import layer_edits
from lazarus_probe.introspection.ablation.predictions_kept import middle_blocks, predictions_kept
from lazarus_probe.introspection.generation.damage import unrelated_prompts
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import control_models


@pytest.fixture(autouse=True)
def _few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every eighth of the prompts that are edited by default."""
    unrelated = unrelated_prompts()
    few = replace(unrelated, prompts=unrelated.prompts[::8], units=unrelated.units[::8])
    monkeypatch.setattr(
        "lazarus_probe.introspection.ablation.predictions_kept.unrelated_prompts", lambda: few
    )


@pytest.mark.parametrize("edit", ["delete", "swap"])
def test_the_score_is_the_mean_over_the_blocks_of_the_middle(grouped, edit):
    """Score and control are the study's own numbers, averaged over blocks and prompts."""
    measurement = predictions_kept(grouped, control_models(grouped, count=3), edit, seed=1)
    blocks = middle_blocks(grouped.num_layers)
    few = {"units": unrelated_prompts().units[::8], "prompts": unrelated_prompts().prompts[::8]}
    study = layer_edits(grouped, edit=edit, layers=blocks, draws=1, seed=1, **few)
    assert measurement.score == pytest.approx(study.kept.mean())
    reached = {control.name: control.score for control in measurement.controls}
    assert set(reached) == {"random_push", "untrained", "new_blocks", "permuted_blocks"}
    assert reached["random_push"] == pytest.approx(study.kept_control.mean())
    assert measurement.n == study.kept.shape[1]


@pytest.mark.parametrize("edit", ["delete", "swap"])
def test_control_models_keep_what_the_study_says_of_them(grouped, edit):
    """Their score is that of the study, which also pushes their states and compares distributions."""
    model, few = grouped.untrained(3), unrelated_prompts().prompts[::8]
    study = layer_edits(model, few, edit, layers=[1, 2], draws=1)
    np.testing.assert_array_equal(
        kept_after_edits(model, encode_all(model, few), edit, study.blocks), study.kept
    )


def test_blocks_of_an_untrained_model_keep_no_more_than_those_of_others(grouped):
    """The null: a model with initial weights keeps as much as the next one, whatever a push would keep."""
    model = grouped.untrained(7)
    measurement = predictions_kept(model, control_models(grouped, count=3), "delete")
    (untrained,) = [control for control in measurement.controls if control.name == "untrained"]
    assert untrained.low < 0


@pytest.mark.parametrize(
    ("num_layers", "blocks"), [(4, [1]), (8, [2, 3, 4]), (30, [7, 12, 16, 21]), (80, [20, 33, 45, 58])]
)
def test_blocks_lie_in_the_middle_half(num_layers, blocks):
    """At most four, evenly spaced, each with a next one in the middle half."""
    assert middle_blocks(num_layers) == blocks
    assert np.all(np.array(blocks) + 1 <= num_layers - num_layers // 4)


def test_a_model_without_a_middle_is_refused():
    """Three blocks have none."""
    with pytest.raises(ValueError, match="has 3 blocks; at least 4"):
        middle_blocks(3)
