"""Causal tracing: a fact planted in one MLP is found there, the engine agrees with sweep and NumPy, and nulls hold."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.patching.causal_tracing import causal_trace
from lazarus_probe.introspection.patching.corrupted_runs import corruptions, noise_size
from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt, encode_spans
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Span, Subject
from lazarus_probe.sweep import Donors, logit_diff, sweep

IDS = [[0, 5, 9, 11, 7, 30], [0, 6, 8, 22, 17, 3], [0, 9, 3, 4, 2, 12]]
PARTS = [Span(1, 3), Span(1, 3), Span(1, 3)]
STORE, READ = 1, 2
SPOTS = ("part", "after the part", "last token")
# Where the clean value brings the answer back: which layers, at which spot.
BROUGHT_BACK = {
    "resid_post": {(0, "part"), (1, "part"), (2, "last token"), (3, "last token")},
    "mlp_out": {(STORE, "part")},
    "attn_out": {(READ, "last token")},
}


@pytest.fixture(scope="module")
def stored():
    """A model with a fact in the MLP of one layer, read in another, and its encoded prompts."""
    circuit = planted.stored(STORE, READ)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    drawn = np.random.default_rng(0).choice(planted.NUMBERS, size=(10, 2), replace=False)
    prompts = []
    for a, b in drawn.tolist():
        if str(a) not in str(b):
            words = [str(circuit.answer(a, b)), str(1 - circuit.answer(a, b))]
            prompts.append(SpannedPrompt(planted.prompt(a, b), str(a), *words))
    return subject, encode_spans(subject, prompts)


@pytest.mark.parametrize("kind", BROUGHT_BACK)
def test_the_planted_fact_is_found_in_its_mlp(stored, kind):
    """The MLP that holds the fact, at the part, and what carries it on bring the answer back; nothing else does."""
    subject, encoded = stored
    result = causal_trace(
        subject,
        encoded.ids,
        encoded.spans,
        encoded.answers,
        encoded.others,
        kind=kind,
        corruption="resample",
        draws=6,
        units=encoded.units,
    )
    assert result.spots == SPOTS
    share = result.effects.effect.mean / result.total.mean
    for number in range(len(share)):
        layers, spot = result.cell(number)
        inside = (layers[0], spot) in BROUGHT_BACK[kind]
        assert share[number] == pytest.approx(1.0 if inside else 0.0, abs=0.01)
        assert (result.effects.p[number] <= 0.05) == inside
    assert result.clean["logit_diff"].min() > 15


def test_noise_finds_the_layer_that_reads(stored):
    """With noise on the embeddings too the answer is read by the attention of one layer, at the last token."""
    subject, encoded = stored
    result = causal_trace(
        subject, encoded.ids, encoded.spans, encoded.answers, encoded.others, kind="attn_out"
    )
    assert result.cell(result.effects.best) == ((READ,), "last token")
    assert result.effects.effect.mean[result.effects.best] == pytest.approx(result.total.mean, rel=0.01)


@pytest.mark.parametrize("corruption", ["noise", "resample"])
def test_untrained_models_bring_nothing_back_in_their_mlps(organism, corruption):
    """The null: in an untrained model no MLP or attention at the last token holds what the part says of an answer."""
    subject = organism.untrained(2)
    drawn = np.random.default_rng(1).choice(planted.NUMBERS, size=(8, 2), replace=False).tolist()
    prompts = [SpannedPrompt(f"{a}*{b}=", str(a), "1", "0") for a, b in drawn if str(a) not in str(b)]
    encoded = encode_spans(subject, prompts)
    rest = (encoded.ids, encoded.spans, encoded.answers, encoded.others)
    result = causal_trace(subject, *rest, kind="attn_out", corruption=corruption, units=encoded.units)
    assert result.total.low < 0 < result.total.high
    assert result.effects.p.min() > 0.05


@pytest.mark.parametrize("kind", ["resid_post", "mlp_out"])
def test_cells_are_those_of_a_sweep(subject, kind):
    """With other parts in place of the own, each cell is what `sweep` patches from the clean prompt into that one."""
    result = causal_trace(
        subject, IDS, PARTS, [5, 6, 7], [8, 9, 10], kind=kind, corruption="resample", draws=1
    )
    runs = corruptions(subject, IDS, PARTS, "resample", 0.0, 1, 0)
    targets = [run.tokens[0].tolist() for run in runs]
    grid = sweep(
        subject,
        targets,
        [f"{kind}.{layer}" for layer in range(4)],
        sources={"clean": Donors(IDS)},
        metrics=[logit_diff([5, 6, 7], [8, 9, 10])],
        positions=[2, 5],
    )
    values = grid.values["logit_diff"][:, 0]  # (prompts, layers, positions)
    for position, spot in ((0, "last of the part"), (1, "last token")):
        restored = result.restored["logit_diff"][:, result.spots.index(spot)]
        np.testing.assert_allclose(restored, values[:, :, position].T, atol=1e-4)
    np.testing.assert_allclose(result.corrupted["logit_diff"], grid.baseline["logit_diff"], atol=1e-4)


def test_noise_and_what_is_put_back_are_those_of_numpy(subject, naive):
    """Noise goes on the part's embeddings, and windows of clean or of other noisy values are put in, as in NumPy."""
    result = causal_trace(
        subject, IDS[:1], PARTS[:1], [5], [8], kind="mlp_out", layers=[1], window=2, draws=2
    )
    noise = corruptions(subject, IDS[:1], PARTS[:1], "noise", result.noise, 2, 0)[0].noise
    clean = naive(subject.model, IDS[:1])
    spread = clean["embed"][0, 1:3].std()
    assert noise_size(subject, IDS[:1], PARTS[:1], 2.0) == pytest.approx(2 * spread, rel=1e-5)
    assert result.noise == pytest.approx(3 * spread, rel=1e-5)

    def noisy(draw, at=(), values=None):
        def edit(name, value):
            if name == "embed":
                return value + noise[draw]
            if name in ("mlp_out.1", "mlp_out.2") and values is not None:
                value = value.copy()
                value[:, list(at)] = values[name][:, list(at)]
            return value

        return naive(subject.model, IDS[:1], edit)

    plain = [noisy(draw) for draw in (0, 1)]
    for spot, at in zip(result.spots, ((1, 2), (2,), (3, 4), (5,)), strict=True):
        column = result.spots.index(spot)
        for name, sources in (("restored", [clean, clean]), ("control", plain[::-1])):
            logits = [noisy(draw, at, sources[draw])["logits"][0, -1] for draw in (0, 1)]
            expected = np.mean([row[5] - row[8] for row in logits])
            assert getattr(result, name)["logit_diff"][0, column, 0] == pytest.approx(expected, abs=1e-4)
    expected = np.mean([run["logits"][0, -1, 5] - run["logits"][0, -1, 8] for run in plain])
    assert result.corrupted["logit_diff"][0] == pytest.approx(expected, abs=1e-4)


def test_what_cannot_be_traced_is_refused_by_name(grouped, mamba):
    """An error names the prompt, the kind or the part, and what would be right."""
    with pytest.raises(ValueError, match="it must end before the last"):
        causal_trace(grouped, IDS[:1], [Span(4, 6)], [5])
    with pytest.raises(ValueError, match="no other prompt has a part of 2 tokens"):
        causal_trace(grouped, IDS[:1], PARTS[:1], [5], corruption="resample")
    with pytest.raises(ValueError, match="noise is 0"):
        causal_trace(grouped, IDS, PARTS, [5] * 3, noise=0)
    with pytest.raises(ValueError, match="corruption 'nois' is unknown; did you mean noise"):
        causal_trace(grouped, IDS, PARTS, [5] * 3, corruption="nois")
    with pytest.raises(ValueError, match="pattern has no value of one token"):
        causal_trace(grouped, IDS, PARTS, [5] * 3, kind="pattern")
    with pytest.raises(ValueError, match="mamba has no attn_out; block 0 has resid_pre"):
        causal_trace(mamba, IDS, PARTS, [5] * 3, kind="attn_out")
    with pytest.raises(ValueError, match="2 units for 3 prompts"):
        causal_trace(grouped, IDS, PARTS, [5] * 3, units=["a", "b"])


def test_one_corrupted_run_has_no_control(grouped):
    """With one draw effects are measured, and what would be compared with them is undefined."""
    result = causal_trace(grouped, IDS, PARTS, [5] * 3, draws=1, layers=[0])
    assert np.isnan(result.effects.gain.mean).all()
    assert np.isfinite(result.effects.effect.mean).all()
