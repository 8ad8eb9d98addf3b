"""Self-repair: a planted stand-in makes up for a head, NumPy computes the same, and untrained models repair nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.attribution.self_repair import self_repair
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject

IDS = [[0, 5, 9, 11, 7], [0, 6, 8], [0, 9, 3, 4, 2]]
ANSWERS, OTHERS = [5, 6, 7], [8, 9, 10]


def measured(circuit, ablation, **options):
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    drawn = np.random.default_rng(0).choice(planted.NUMBERS, size=(8, 2)).tolist()
    said = [circuit.answer(a, b) for a, b in drawn]
    return self_repair(
        subject,
        [planted.prompt(a, b) for a, b in drawn],
        [str(answer) for answer in said],
        [str(1 - answer) for answer in said],
        ablation=ablation,
        **options,
    )


def test_a_planted_stand_in_makes_up_for_the_head():
    """Without its mark nothing is lost of what the head contributes, by components and not by the norm."""
    result = measured(planted.backup(), "zero", top=3)
    assert result.heads[0] == (0, 0)
    np.testing.assert_allclose(result.direct[0], result.total, rtol=0.01)
    assert np.abs(result.lost[0]).max() < 0.5
    assert result.share_repaired[0] == pytest.approx(1.0, abs=0.01)
    assert result.repair.p[0] == pytest.approx(1 / 256)
    assert np.abs(result.by_norm.effects[0]).max() < 0.1
    assert result.repair.p[1:].min() > 0.05


def test_with_its_mark_the_stand_in_does_nothing():
    """Ablated to its mean the head still brings the mark, and all that it contributes is lost."""
    result = measured(planted.backup(), "mean", heads=[(0, 0)])
    np.testing.assert_allclose(result.lost, result.direct, atol=0.05)
    assert result.damage.score < 0.01


@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
def test_a_model_without_a_stand_in_repairs_nothing(ablation):
    """What the only head contributes is lost, whatever takes its place."""
    result = measured(planted.distractor(1), ablation, top=1)
    assert result.heads == ((1, 0),)
    np.testing.assert_allclose(result.lost, result.direct, atol=0.05)
    assert np.abs(result.repair.effect.mean[0]) < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_untrained_models_repair_nothing(organism, seed):
    """The null: no head of an untrained model is made up for, beyond chance over prompts."""
    rng = np.random.default_rng(seed)
    answers, others = rng.integers(3, 2000, size=(2, 8)).tolist()
    prompts = [f"{a}*{b}=" for a, b in rng.choice(planted.NUMBERS, size=(8, 2)).tolist()]
    result = self_repair(organism.untrained(seed), prompts, answers, others, top=5, seed=seed)
    assert result.repair.p.min() > 0.05


@pytest.mark.parametrize("ablation", ["zero", "mean", "resample"])
def test_effects_are_those_of_numpy(subject, naive, ablation):
    """Direct, with the norm frozen, and in all, from forwards in NumPy, for grouped keys and biases too."""
    model, heads = subject.model, [(1, 2), (3, 0)]
    result = self_repair(subject, IDS, ANSWERS, OTHERS, heads=heads, ablation=ablation)
    unembedding = model.model.embed_tokens if model.args.tie_word_embeddings else model.lm_head
    rows = np.array(unembedding.weight, dtype=np.float64)
    weight, plain = np.array(model.model.norm.weight), [naive(model, [ids]) for ids in IDS]
    for number, (layer, head) in enumerate(heads):
        outputs = np.stack([run[f"head_out.{layer}"][0, -1, head] for run in plain])
        put = {
            "zero": 0 * outputs,
            "mean": 0 * outputs + outputs.mean(axis=0),
            "resample": np.roll(outputs, -1, axis=0),
        }
        project = np.array(model.model.layers[layer].self_attn.o_proj.weight, dtype=np.float64)
        width = outputs.shape[1]
        project = project[:, head * width : (head + 1) * width]
        for row, ids in enumerate(IDS):

            def edit(name, value, at=(layer, head), new=put[ablation][row]):
                if name == f"head_out.{at[0]}":
                    value = value.copy()
                    value[:, -1, at[1]] = new
                return value

            ablated = naive(model, [ids], edit)
            direction = rows[ANSWERS[row]] - rows[OTHERS[row]]
            ends = [run["resid_post.3"][0, -1] for run in (plain[row], ablated)]
            scale = weight / np.sqrt((ends[0] ** 2).mean() + model.args.rms_norm_eps)
            direct = (project @ (outputs[row] - put[ablation][row]) * scale) @ direction
            assert result.direct[number, row] == pytest.approx(direct, abs=2e-4)
            assert result.frozen[number, row] == pytest.approx(
                ((ends[0] - ends[1]) * scale) @ direction, abs=2e-4
            )
            gaps = [
                run["logits"][0, -1, ANSWERS[row]] - run["logits"][0, -1, OTHERS[row]]
                for run in (plain[row], ablated)
            ]
            assert result.lost[number, row] == pytest.approx(gaps[0] - gaps[1], abs=2e-4)
            assert result.total[row] == pytest.approx(gaps[0], abs=2e-4)
    assert (np.abs(result.direct[1] - result.frozen[1]) > 1e-6).any(), "the last block's MLP reads the head"


def test_what_cannot_be_measured_is_refused_by_name(grouped, mamba):
    """An error names the head, the ablation or the model, and what would be right."""
    with pytest.raises(ValueError, match="ablation 'median' is unknown"):
        self_repair(grouped, IDS, 5, 6, ablation="median")
    with pytest.raises(ValueError, match="1 prompts; give at least two for mean ablation"):
        self_repair(grouped, IDS[:1], 5, 6)
    with pytest.raises(IndexError, match=r"head 4\.0 is not there; the last one is 3\.3"):
        self_repair(grouped, IDS, 5, 6, heads=[(4, 0)])
    with pytest.raises(ValueError, match="2 units for 3 prompts"):
        self_repair(grouped, IDS, 5, 6, units=["a", "b"])
    with pytest.raises(
        UnsupportedArchitecture, match="mamba has no heads whose contributions can be told apart"
    ):
        self_repair(mamba, IDS, 5, 6)
