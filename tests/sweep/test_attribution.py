"""Attribution patching against finite differences, against exact patching where that is linear, and as a screen."""

from __future__ import annotations

import mlx.core as mx
import naive
import numpy as np
import pytest

from lazarus_probe import Subject
from lazarus_probe.sweep import Donors, attribution, correlation, logit_diff, screen, sweep
from tests.architectures import zoo

TARGETS = ["12*ab = ", "bb*d=", [3, 4, 5, 6, 7, 8]]
DONORS = ["12*bb = ", "bd*a=", [3, 4, 5, 9, 7, 8]]
KINDS = ("resid_pre", "resid_post", "attn_out", "mlp_out", "head_out", "neurons", "pattern", "keys", "values")
METRIC = logit_diff(5, 6)


def test_the_gradient_is_that_of_finite_differences(subject):
    """The estimate at a cell is the slope of the metric along (donor - target), taken by a small step each way."""
    target, donor, step = TARGETS[0], DONORS[0], 3e-3
    sites = [naive.Site(kind, layer) for kind in KINDS for layer in (1, 3)] + [naive.Site("embed")]
    found = attribution(subject, [target], [donor], sites, METRIC)
    effects = found.values["logit_diff"][0, 0] - found.baseline["logit_diff"][0]
    largest = float(np.abs(effects).max())
    assert largest > 0.1
    for row, site in enumerate(sites):
        for position in (4, 7):
            values = []
            for sign in (1, -1):
                edit = naive.edit_of(subject, Donors([donor]), 0, site, position, 8)
                toward = naive.Intervention(
                    site, lambda old, e=edit, s=sign: old + s * step * (e.edit(old) - old), position
                )
                logits = naive.logits(subject, target, toward).astype(float)
                values.append(logits[5] - logits[6])
            slope = (values[0] - values[1]) / (2 * step)
            assert effects[row, position] == pytest.approx(slope, abs=2e-3 * largest + 2e-3)


def test_where_the_model_is_linear_the_estimate_is_exact():
    """Without a final norm the logits are linear in what the last block adds, so estimate and patch agree."""
    from mlx_lm.models.gpt2 import Model, ModelArgs

    sizes = {"n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 32, "vocab_size": 60}
    mx.random.seed(0)
    model = Model(ModelArgs(model_type="gpt2", layer_norm_epsilon=1e-5, **sizes))
    model.model.ln_f.__class__ = type("Same", (type(model.model.ln_f),), {"__call__": lambda _, x: x})
    subject = Subject.from_model(model, config={})
    targets, donors = [[1, 2, 3, 4]], [[1, 7, 8, 9]]
    sites = ["resid_post.1", "mlp_out.1", "logits"]
    estimate = attribution(subject, targets, donors, sites, METRIC, positions="last")
    exact = sweep(
        subject, targets, sites, sources={"donor": Donors(donors)}, metrics=[METRIC], positions="last"
    )
    np.testing.assert_allclose(
        estimate.values["logit_diff"], exact.values["logit_diff"], rtol=1e-4, atol=1e-5
    )


def test_heads_add_up_to_the_attention(grouped):
    """The estimates of single heads sum to that of all heads, and all positions are the sum over positions."""
    heads = [f"head_out.1.{head}" for head in range(4)]
    found = attribution(grouped, TARGETS, DONORS, ["head_out.1", *heads], METRIC)
    effects = found.values["logit_diff"][:, 0] - found.baseline["logit_diff"][:, None, None]
    np.testing.assert_allclose(effects[:, 0], effects[:, 1:].sum(axis=1), atol=1e-5)
    whole = attribution(grouped, TARGETS, DONORS, ["head_out.1"], METRIC, positions="all")
    total = whole.values["logit_diff"][:, 0, 0, 0] - whole.baseline["logit_diff"]
    np.testing.assert_allclose(total, np.nansum(effects[:, 0], axis=1), atol=1e-5)


def test_donors_equal_to_their_targets_have_no_effect(grouped):
    """The null: nothing differs, so every estimate is the baseline."""
    found = attribution(grouped, TARGETS, TARGETS, naive.sites_of(grouped, *KINDS), METRIC)
    effects = found.values["logit_diff"] - found.baseline["logit_diff"][:, None, None, None]
    assert np.nanmax(np.abs(effects)) == 0


def test_a_tail_that_reads_more_is_run_whole():
    """Where the tail reads more than the last residual, the last MLP acts at the last position, as it does in truth."""
    subject = Subject.from_model(zoo.build("kimi_k3"))
    site, targets, donors = f"mlp_out.{subject.num_layers - 1}", [[3, 5, 7, 11]], [[3, 5, 8, 12]]
    estimate = attribution(subject, targets, donors, [site], METRIC)
    exact = sweep(
        subject, targets, [site], sources={"donor": Donors(donors)}, metrics=[METRIC], positions=[3]
    )
    assert estimate.baseline["logit_diff"] == pytest.approx(exact.baseline["logit_diff"], rel=1e-5)
    effects = (estimate.values["logit_diff"] - estimate.baseline["logit_diff"]).ravel()
    (effect,) = (exact.values["logit_diff"] - exact.baseline["logit_diff"]).ravel()
    assert effects[:3].tolist() == [0, 0, 0]
    assert effects[3] == pytest.approx(effect, rel=0.5)


def test_the_screen_finds_the_cells_that_the_exact_sweep_finds():
    """On the organism estimates correlate with the exact grid, and the best exact cell is among the screened ones."""
    subject = Subject.load("organism")
    targets, donors = ["12 * 7 = ", "14 * 3 = "], ["12 * 8 = ", "14 * 6 = "]
    tokens = [[subject.encode(f"a{answer}")[-1] for answer in row] for row in ((84, 42), (96, 84))]
    sites, metric = naive.sites_of(subject, "resid_post"), logit_diff(*tokens)
    estimate = attribution(subject, targets, donors, sites, metric)
    exact = sweep(subject, targets, sites, sources={"donor": Donors(donors)}, metrics=[metric])
    cells = screen(estimate, top=12)
    assert correlation(estimate, exact, "logit_diff") > 0.5
    assert screen(exact, top=1)[0] in cells
    again = sweep(subject, targets, sources={"donor": Donors(donors)}, metrics=[metric], cells=cells)
    assert correlation(estimate, again, "logit_diff") <= 1
    np.testing.assert_allclose(estimate.baseline["logit_diff"], exact.baseline["logit_diff"], rtol=1e-4)
    np.testing.assert_allclose(estimate.donors["logit_diff"], exact.donors["logit_diff"], rtol=1e-4)


def test_a_screen_gives_the_largest_effects_first(grouped):
    """Cells come in the order of their mean absolute effect, and cells that no prompt has are left out."""
    found = attribution(grouped, TARGETS, DONORS, naive.sites_of(grouped, "resid_post"), METRIC)
    cells = screen(found, top=1000)
    effects = np.abs(found.values["logit_diff"] - found.baseline["logit_diff"][:, None, None, None])
    mean = np.nanmean(effects, axis=(0, 1))
    sizes = [mean[found.sites.index(cell.site), found.positions.index(cell.position)] for cell in cells]
    assert sizes == sorted(sizes, reverse=True)
    assert len(cells) == 4 * 8


def test_what_cannot_be_attributed_is_refused(grouped):
    """An error says what is missing."""
    found = attribution(grouped, TARGETS, DONORS, ["attn_out.1"], METRIC)
    with pytest.raises(ValueError, match="top is 0"):
        screen(found, 0)
    with pytest.raises(ValueError, match="no targets"):
        attribution(grouped, [], [], ["embed"], METRIC)
    with pytest.raises(ValueError, match="1 donors for 3"):
        attribution(grouped, TARGETS, DONORS[:1], ["embed"], METRIC)
    with pytest.raises(ValueError, match="different prompts"):
        correlation(found, attribution(grouped, TARGETS[:1], DONORS[:1], ["embed"], METRIC), "logit_diff")
    with pytest.raises(ValueError, match="fewer than two cells"):
        correlation(found, attribution(grouped, TARGETS, DONORS, ["embed"], METRIC), "logit_diff")
