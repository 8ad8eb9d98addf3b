"""Path patching against a Llama written out in NumPy, and on circuits whose only path is known."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.patching import path_runs as module
from lazarus_probe.introspection.patching.path_patching import path_patch, senders_below
from lazarus_probe.organisms.planted import circuits
from lazarus_probe.subject import Subject
from lazarus_probe.sweep.metrics import logit_diff

TARGETS = [[0, 5, 9, 11, 7], [0, 6, 9, 12, 7], [0, 5, 8]]
SOURCES = [[0, 8, 9, 10, 7], [0, 6, 4, 12, 9], [0, 9, 7]]
METRIC = logit_diff(5, 6)
RECEIVERS = [
    "queries.2.1",
    "keys.3.0",
    "values.2.1",
    "head_out.3.2",
    "attn_out.2",
    "mlp_out.2",
    "resid_pre.3",
]
SENDERS = ["embed", "head_out.0.1", "head_out.1.3", "attn_out.0", "mlp_out.0", "mlp_out.1"]


def by_hand(naive, model, target, plain, other, sender, receiver, hold_mlps):
    """The metric of path patching one pair, by runs of the NumPy Llama with sites edited by name.

    `plain` and `other` are the first two runs: those of the target and of the source.
    """
    layers = model.args.num_hidden_layers
    first, last = module.place_of(sender), module.place_of(receiver)
    held = [
        Site(kind, i) for i in range(layers) for kind in ("attn_out", *(["mlp_out"] if hold_mlps else []))
    ]
    frozen = {str(site) for site in held if first < module.place_of(site) < last}

    def third(name, value):
        if name == str(Site(sender.kind, sender.layer)):
            value = value.copy()
            at = np.s_[...] if sender.head is None else np.s_[:, :, sender.head]
            value[at] = other[name][at]
        return plain[name] if name in frozen else value

    heard = naive(model, [target], third)

    def fourth(name, value):
        if name == str(Site(receiver.kind, receiver.layer)):
            value = value.copy()
            at = np.s_[...] if receiver.head is None else np.s_[:, :, receiver.head]
            value[at] = heard[name][at]
        return value

    logits = naive(model, [target], fourth)["logits"][0, -1]
    return logits[5] - logits[6]


@pytest.mark.parametrize("hold_mlps", [False, True])
def test_every_path_is_that_of_four_runs_by_hand(subject, naive, hold_mlps):
    """Whatever sends and whatever receives, the metric is that of the written-out runs; all senders go in one batch."""
    senders = [Site.parse(name) for name in SENDERS]
    targets, sources = TARGETS[1:], SOURCES[1:]
    plain, other = ([naive(subject.model, [ids]) for ids in each] for each in (targets, sources))
    every = subject.name == "grouped" and not hold_mlps
    for name in (*RECEIVERS, "logits") if every else ("keys.3.0", "logits"):
        receiver = Site.parse(name)
        found = path_patch(subject, targets, sources, senders, receiver, METRIC, hold_mlps=hold_mlps)
        for row, target in enumerate(targets):
            for column, sender in enumerate(senders):
                runs = plain[row], other[row]
                wanted = by_hand(naive, subject.model, target, *runs, sender, receiver, hold_mlps)
                assert found.values[row, column] == pytest.approx(wanted, abs=2e-4)


def test_it_tells_a_path_from_no_path(grouped):
    """Senders have effects of different sizes, holding the MLPs changes them, and the batch size does not."""
    found = path_patch(grouped, TARGETS, SOURCES, SENDERS, "logits", METRIC)
    held = path_patch(grouped, TARGETS, SOURCES, SENDERS, "logits", METRIC, hold_mlps=True)
    assert np.abs(found.effects).max() > 0.1
    assert np.abs(found.values - held.values).max() > 0.01
    assert held.as_data()["mlps"] == "frozen"
    # The control: pairs of one length exchange their sources; a pair without a partner has none.
    swapped = path_patch(grouped, TARGETS[:2], SOURCES[1::-1], SENDERS, "logits", METRIC)
    np.testing.assert_allclose(found.foreign[:2], swapped.values, atol=1e-5)
    assert np.isnan(found.foreign[2]).all()
    np.testing.assert_allclose(found.control, swapped.effects.mean(axis=0), atol=1e-5)


def test_batches_of_senders_change_nothing(grouped, monkeypatch):
    """Senders that are run one by one have the effects of senders that are run together."""
    whole = path_patch(grouped, TARGETS, SOURCES, SENDERS, "mlp_out.2", METRIC)
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", 1)
    single = path_patch(grouped, TARGETS, SOURCES, SENDERS, "mlp_out.2", METRIC)
    np.testing.assert_allclose(whole.values, single.values, atol=1e-5)


def test_sources_equal_to_their_targets_have_no_effect(grouped):
    """The null: nothing differs, so no path carries anything."""
    found = path_patch(grouped, TARGETS, TARGETS, SENDERS, "logits", METRIC)
    assert np.abs(found.effects).max() < 1e-5
    assert np.isnan(found.shares).all() or np.abs(found.shares).max() == 0


def test_a_position_restricts_the_sender(grouped):
    """All that is patched at one position lies there: at the last, later attention has nothing to carry back."""
    last = path_patch(grouped, TARGETS, SOURCES, ["attn_out.3"], "logits", METRIC, position=-1)
    whole = path_patch(grouped, TARGETS, SOURCES, ["attn_out.3"], "logits", METRIC)
    first = path_patch(grouped, TARGETS, SOURCES, ["attn_out.3"], "logits", METRIC, position=0)
    np.testing.assert_allclose(last.values, whole.values, atol=1e-5)
    assert np.abs(first.effects).max() < 1e-5


def test_the_planted_head_is_the_only_direct_path():
    """A head of layer 1 copies the operand to the `=`: it alone speaks to the logits, and it carries everything."""
    made = circuits.router(1, head=2)
    subject = Subject.from_model(made.model, made.tokenizer, name=made.name)
    words = [str(made.answer(*pair)) for pair in ((3, 7), (8, 7))]
    metric = logit_diff(subject.single_token(words[0]), subject.single_token(words[1]))
    senders = senders_below(subject, "logits")
    found = path_patch(subject, ["8*7="], ["3*7="], senders, "logits", metric)
    shares = {str(site): share for site, share in zip(found.senders, found.shares, strict=True)}
    assert shares.pop("head_out.1.2") == pytest.approx(1, abs=0.02)
    assert max(map(abs, shares.values())) < 0.02
    assert found.as_data()["senders"][0]["site"] == "head_out.1.2"
    assert "head_out.1.2" in found._repr_html_()


def test_the_planted_gate_hears_the_head_that_opens_it():
    """A head of layer 0 brings a flag to the `=`, for which the MLP of layer 2 opens; no other MLP listens."""
    made = circuits.gates({2: [7]})
    subject = Subject.from_model(made.model, made.tokenizer, name=made.name)
    metric = logit_diff(subject.single_token("3"), subject.single_token("0"))
    effects = {}
    for receiver in ("mlp_out.1", "mlp_out.2", "mlp_out.3"):
        senders = senders_below(subject, receiver)
        found = path_patch(subject, ["3*7="], ["3*9="], senders, receiver, metric)
        effects |= {
            (str(site), receiver): value for site, value in zip(found.senders, found.effects[0], strict=True)
        }
    assert abs(effects.pop(("head_out.0.1", "mlp_out.2"))) > 5
    assert max(map(abs, effects.values())) < 0.1


def test_what_has_no_path_is_refused(grouped):
    """An error names the site and what would do."""
    for senders, receiver, message in [
        ([], "logits", "no senders"),
        (["resid_post.1"], "logits", "resid_post.1 cannot send"),
        (["head_out.1.0"], "pattern.2", "pattern.2 cannot receive"),
        (["head_out.2.0"], "mlp_out.1", "head_out.2.0 does not come before mlp_out.1"),
        (["attn_out.1"], "head_out.1.0", "does not come before"),
    ]:
        with pytest.raises(ValueError, match=message):
            path_patch(grouped, TARGETS, SOURCES, senders, receiver, METRIC)
    with pytest.raises(IndexError, match="position 9"):
        path_patch(grouped, TARGETS, SOURCES, SENDERS, "logits", METRIC, position=9)
    with pytest.raises(ValueError, match="no targets"):
        path_patch(grouped, [], [], SENDERS, "logits", METRIC)
    assert [str(site) for site in senders_below(grouped, "mlp_out.0")] == [
        f"head_out.0.{head}" for head in range(4)
    ]
    assert [str(site) for site in senders_below(grouped, "queries.1.0", heads=False)] == [
        "attn_out.0",
        "mlp_out.0",
    ]
