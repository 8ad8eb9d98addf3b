"""Interventions, against the same edit in a forward written out by hand."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.interventions import Intervention, mean, noise, patch, resample, scale, steer, zero
from tests.tolerance import assert_close

TOKENS = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]
WIDTHS = {"head_out": (4, 8), "pattern": (5,), "scores": (5,), "neurons": (48,), "logits": (64,)}
WIDTHS |= {"queries": (4, 8), "keys": (2, 8), "values": (2, 8)}
SITES = [
    "embed",
    "resid_pre.1",
    "queries.1",
    "keys.1",
    "values.1",
    "scores.1",
    "attn_out.1",
    "head_out.1",
    "pattern.1",
    "mlp_out.1",
    "neurons.1",
    "resid_post.1",
]


def given(site):
    """Some value for one position of a site."""
    return np.random.default_rng(1).normal(size=WIDTHS.get(site.split(".")[0], (32,)))


def factor(site):
    """What a site is multiplied by; a masked score must stay the lowest."""
    return 0.5 if site == "scores.1" else -1.5


EDITS = {
    "zero": (lambda site, at: zero(site, at), lambda _, value: 0 * value),
    "mean": (lambda site, at: mean(site, given(site), at), lambda site, value: 0 * value + given(site)),
    "patch": (lambda site, at: patch(site, given(site), at), lambda site, value: 0 * value + given(site)),
    "steer": (
        lambda site, at: steer(site, given(site), 0.7, at),
        lambda site, value: value + 0.7 * given(site),
    ),
    "scale": (
        lambda site, at: scale(site, factor(site), at),
        lambda site, value: factor(site) * value,
    ),
}


@pytest.mark.parametrize("positions", ["all", "last", [1, -2]])
@pytest.mark.parametrize("site", [*SITES, "logits"])
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_equals_the_hand_written_one(grouped, naive, name, site, positions):
    """An edit of a site at some positions gives the logits of a forward in which that value was replaced."""
    build, reference = EDITS[name]
    places = {"all": [0, 1, 2, 3, 4], "last": [4]}.get(str(positions), [1, 3])

    def edit(at, value):
        if at == site:
            index = (slice(None),) * (2 if site in ("pattern.1", "scores.1") else 1) + (places,)
            value = value.copy()
            value[index] = reference(site, value[index])
        return value

    expected = naive(grouped.model, TOKENS, edit)["logits"]
    found = trace(grouped, TOKENS, interventions=build(site, positions)).logits
    assert_close(grouped, found, expected)
    # The same vector added to every key shifts all scores of a query alike, which a softmax does not see.
    same = (name, site, positions) == ("steer", "keys.1", "all")
    assert np.allclose(expected, naive(grouped.model, TOKENS)["logits"], atol=1e-3) == same


def test_one_head_is_edited_alone(grouped, naive):
    """An edit of one head leaves the others as they were."""

    def edit(at, value):
        return value * (np.arange(4) != 2)[:, None] if at == "head_out.1" else value

    run = trace(grouped, TOKENS, ["head_out.1"], zero("head_out.1.2"))
    expected = naive(grouped.model, TOKENS, edit)
    assert_close(grouped, run["head_out.1"], expected["head_out.1"])
    assert_close(grouped, run.logits, expected["logits"])


@pytest.mark.parametrize("site", [*SITES, "head_out.1.2", "logits"])
@pytest.mark.parametrize("positions", ["all", "last", 2])
def test_a_patch_of_a_run_into_itself_changes_nothing(grouped, site, positions):
    """Patching a site with its own value leaves the logits bit for bit."""
    clean = trace(grouped, TOKENS, [site], positions=positions)
    assert mx.array_equal(
        trace(grouped, TOKENS, interventions=patch(site, clean[site], positions)).logits, clean.logits
    )


def test_a_patch_of_everything_from_another_run_gives_that_run(grouped):
    """With the whole residual stream of another prompt, the logits are the other prompt's."""
    donor = trace(grouped, [TOKENS[1]], ["resid_post.2"])
    patched = trace(grouped, [TOKENS[0]], interventions=patch("resid_post.2", donor["resid_post.2"]))
    assert_close(grouped, patched.logits, donor.logits)


def test_resample_takes_donors_row_by_row(grouped):
    """Exchanging the last residuals of two prompts exchanges their last logits."""
    run = trace(grouped, TOKENS, ["resid_post.3"], positions="last")
    donors = run["resid_post.3"][::-1]
    swapped = trace(grouped, TOKENS, interventions=resample("resid_post.3", donors, "last")).logits
    assert_close(grouped, swapped[:, -1], run.logits[::-1, -1])


def test_values_without_their_position_axis_fit_one_position(grouped):
    """An array (B, D), as `collect` returns it, patches one position of (B, L, D)."""
    run = trace(grouped, TOKENS, ["resid_post.1"], positions=2)
    flat = np.array(run["resid_post.1"][:, 0])
    assert mx.array_equal(
        trace(grouped, TOKENS, interventions=patch("resid_post.1", flat, 2)).logits, run.logits
    )


@pytest.mark.parametrize(
    ("intervention", "message"),
    [
        (
            patch("resid_post.1", np.ones(31)),
            r"the shape for patch does not fit: \(31,\) given, \(2, 5, 32\) there",
        ),
        (
            steer("mlp_out.1", np.ones(5), 1.0),
            r"the shape for steer does not fit: \(5,\) given, \(2, 5, 32\) there",
        ),
        (mean("neurons.1", np.ones(32), "last"), r"for mean does not fit: \(32,\) given, \(2, 1, 48\) there"),
        (
            resample("resid_post.1", np.ones((1, 5, 32))),
            r"\(1, 5, 32\) given, \(2, 5, 32\) there; one donor row",
        ),
        (Intervention("embed", lambda x: x[:, :1], label="cut"), r"cut at embed returned \(2, 1, 32\)"),
        (
            Intervention("embed", lambda x: x.astype(mx.float16)),
            r"edit at embed returned .*float16, not .*float32",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(grouped, intervention, message):
    """A wrong shape or type is an error that gives both."""
    with pytest.raises(ValueError, match=message):
        trace(grouped, TOKENS, interventions=intervention)


def test_edits_of_one_site_are_made_in_order(grouped):
    """Of two edits of a site the second sees the first, and a capture sees both."""
    both = [patch("mlp_out.0", 2.0), scale("mlp_out.0", 3.0)]
    assert np.all(np.array(trace(grouped, TOKENS, ["mlp_out.0"], both)["mlp_out.0"]) == 6)
    assert np.all(np.array(trace(grouped, TOKENS, ["mlp_out.0"], both[::-1])["mlp_out.0"]) == 2)


def test_ablation_of_outputs_holds_on_quantised_weights(make_llama):
    """Zeroing attention and MLP of a 4-bit block makes it pass its input through exactly."""
    import mlx.nn as nn

    from lazarus_probe.subject import Subject

    model = make_llama(attention_bias=True)
    nn.quantize(
        model,
        group_size=32,
        bits=4,
        class_predicate=lambda _, module: isinstance(module, nn.Linear) and module.weight.shape[1] % 32 == 0,
    )
    edits = [zero("attn_out.1"), zero("mlp_out.1")]
    run = trace(Subject.from_model(model), TOKENS, ["resid_pre.1", "resid_post.1"], edits)
    assert mx.array_equal(run["resid_pre.1"], run["resid_post.1"])


def test_noise_is_the_same_for_a_seed_and_has_its_size(grouped):
    """Noise of one seed is the same in every run, differs between seeds, and has the standard deviation asked for."""
    plain = np.array(trace(grouped, TOKENS, "resid_post.1")["resid_post.1"])

    def added(seed, positions="all"):
        run = trace(grouped, TOKENS, "resid_post.1", noise("resid_post.1", 0.5, positions, seed))
        return np.array(run["resid_post.1"]) - plain

    assert np.array_equal(added(0), added(0))
    assert not np.allclose(added(0), added(1))
    assert added(0).std() == pytest.approx(0.5, rel=0.15)
    assert np.array_equal(added(0, 2)[:, [0, 1, 3, 4]], np.zeros((2, 4, 32)))
