"""The same checkpoint gives the same activations, lens, ablation and patching here and in transformers on torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

import mlx.core as mx  # noqa: E402

from lazarus_probe.hooks import replay, trace  # noqa: E402
from lazarus_probe.interventions import patch, zero  # noqa: E402
from tests.parity.pair import FAMILIES, TOKENS, error, pair, run  # noqa: E402

TOLERANCE = 1e-4
MIDDLE = 1
KINDS = ("resid_post", "attn_out", "mlp_out", "pattern", "head_out")


@pytest.fixture(scope="module", params=FAMILIES)
def both(request, tmp_path_factory):
    return pair(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def plain(both):
    return run(both.reference, both.where)


def logits(both, *interventions):
    return trace(both.subject, TOKENS, interventions=list(interventions)).logits


def layers_of(both):
    return range(both.subject.num_layers)


def test_every_site_has_the_same_values(both, plain):
    """Logits, residual stream, attention, MLP, heads and patterns agree at every layer."""
    names = [f"{kind}.{layer}" for kind in KINDS for layer in layers_of(both)]
    found = trace(both.subject, TOKENS, capture=names)
    errors = {name: error(found[name], plain[name]) for name in names}
    errors["logits"] = error(found.logits, plain["logits"])
    assert {name: value for name, value in errors.items() if not value <= TOLERANCE} == {}


def test_the_lens_reads_every_layer_alike(both, plain):
    """The residual of a layer, put through the model's own tail, gives the logits transformers gives."""
    last = both.subject.num_layers - 1
    for layer in layers_of(both):
        resid = plain[f"resid_post.{layer}"]
        edits = {f"resid_post.{last}": lambda _, resid=resid: torch.tensor(resid)}
        expected = run(both.reference, both.where, edits)["logits"]
        assert error(replay(both.subject, mx.array(resid), tokens=mx.array(TOKENS)), expected) <= TOLERANCE


@pytest.mark.parametrize("kind", ["attn_out", "mlp_out"])
def test_an_ablation_has_the_same_effect(both, plain, kind):
    """Zeroing attention or MLP of a middle layer gives the logits of a zero returned by a torch hook."""
    site = f"{kind}.{MIDDLE}"
    expected = run(both.reference, both.where, {site: torch.zeros_like})["logits"]
    assert error(logits(both, zero(site)), expected) <= TOLERANCE
    assert error(plain["logits"], expected) > 100 * TOLERANCE


def test_a_patch_has_the_same_effect(both, plain):
    """A residual of one prompt put into the other at one layer and position gives the same logits."""
    site, position = f"resid_post.{MIDDLE}", 5
    donor = plain[site][::-1, position].copy()

    def patched(value):
        value = value.clone()
        value[:, position] = torch.tensor(donor)
        return value

    expected = run(both.reference, both.where, {site: patched})["logits"]
    found = logits(both, patch(site, mx.array(donor)[:, None], positions=position))
    assert error(found, expected) <= TOLERANCE
    assert error(plain["logits"], expected) > 100 * TOLERANCE
