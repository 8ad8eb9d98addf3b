"""Facts in layers as measurements: a planted fact is read and stored where it was put, on facts not chosen on."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.generation.continuation import before_answers
from lazarus_probe.introspection.patching.attention_knockout import attention_knockout
from lazarus_probe.introspection.patching.causal_tracing import causal_trace
from lazarus_probe.introspection.patching.corrupted_runs import corruptions
from lazarus_probe.introspection.patching.fact_measures import (
    read_by_attention,
    restored_by_mlp,
    shares_restored,
    windows_of,
)
from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt, encode_spans
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.folds import halves_of_units
from lazarus_probe.subject import Subject, span
from lazarus_probe.tasks.language import CAPITALS
from tests.cases import slow_except

STORE, READ = 1, 2
COUNTRIES = sorted(CAPITALS)[:24]


@pytest.fixture(scope="module")
def stored():
    """A fact in the MLP of one layer, read by attention in the next, and its encoded prompts."""
    circuit = planted.stored(STORE, READ)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    drawn = np.random.default_rng(0).choice(planted.NUMBERS, size=(24, 2), replace=False)
    prompts = [
        SpannedPrompt(planted.prompt(a, b), str(a), str(circuit.answer(a, b)), str(1 - circuit.answer(a, b)))
        for a, b in drawn.tolist()
        if str(a) not in str(b)
    ]
    return subject, encode_spans(subject, prompts)


@pytest.fixture(scope="module")
def capitals(organism):
    """Facts that the organism was taught."""
    prompts = [f"The capital of {country} is" for country in COUNTRIES]
    _, answers = before_answers(organism, prompts, [f" {CAPITALS[country]}" for country in COUNTRIES])
    parts = [span(organism, prompt, country) for prompt, country in zip(prompts, COUNTRIES, strict=True)]
    return prompts, parts, answers, COUNTRIES


def test_a_planted_fact_is_brought_back_by_its_mlp(stored):
    """The layer that stores it brings nearly all back; attention there, or another run's states, bring nothing."""
    subject, encoded = stored
    measurement = restored_by_mlp(
        subject, encoded.ids, encoded.spans, encoded.answers, encoded.units, share=0.25
    )
    assert measurement.details["layers"] == [STORE]
    # Where other parts say the same nothing was lost, and it counts as not brought back.
    assert measurement.score > 0.6
    assert all(control.score < 0.1 for control in measurement.controls)
    assert {control.name for control in measurement.controls} == {"other_run", "attention"}


def test_noise_is_another_corruption_of_the_same_measure(organism, capitals):
    """With noise the score is what `causal_trace` says of the chosen window, on the half that it was not chosen on."""
    few = [column[:8] for column in capitals]
    measurement = restored_by_mlp(organism, *few, corruption="noise", seed=3)
    layers, window = windows_of(organism.num_layers, 0.2)
    traced = causal_trace(
        organism, *few[:3], kind="mlp_out", corruption="noise", draws=2, layers=layers, window=window, seed=3
    )
    (row,) = [n for n, of in enumerate(traced.windows) if list(of) == measurement.details["layers"]]
    clean, corrupted = traced.clean["probability"], traced.corrupted["probability"]
    spot = traced.spots.index("last of the part" if "last of the part" in traced.spots else "part")
    gained = traced.restored["probability"][row, spot] - corrupted
    _, testing = halves_of_units(few[3], np.random.default_rng(3))
    share = np.clip(gained / np.maximum(clean - corrupted, 1e-9), 0, 1)[testing]
    assert (clean - corrupted)[testing].min() > 1e-6
    assert measurement.score == pytest.approx(share.mean(), abs=1e-6)
    assert measurement.details["left_out"] == 0


@pytest.mark.parametrize("kind", ["mlp_out", "attn_out"])
@pytest.mark.parametrize("corruption", ["resample", "noise"])
def test_shares_restored_are_those_of_a_causal_trace(stored, kind, corruption):
    """At the part's last token, with clean values and with another run's; 0 where the corruption lost nothing."""
    subject, encoded = stored
    traced = causal_trace(
        subject,
        encoded.ids,
        encoded.spans,
        encoded.answers,
        kind=kind,
        corruption=corruption,
        draws=2,
        seed=3,
    )
    corrupted = corruptions(subject, encoded.ids, encoded.spans, corruption, traced.noise, 2, 3)
    shares = shares_restored(
        subject, encoded.ids, encoded.spans, encoded.answers, kind, traced.windows, corrupted
    )
    spot = traced.spots.index("last of the part" if "last of the part" in traced.spots else "part")
    clean, before = traced.clean["probability"], traced.corrupted["probability"]
    lost = clean - before
    for share, values in zip(shares, (traced.restored, traced.control), strict=True):
        gained = values["probability"][:, spot] - before
        expected = np.where(lost > 1e-6, np.clip(gained / np.where(lost > 1e-6, lost, 1), 0, 1), 0)
        np.testing.assert_allclose(share, expected, atol=1e-5)
    assert (lost > 1e-6).any()


@pytest.mark.parametrize(
    "lone", slow_except([["two word France"], ["two word France", "two word Spain"]], ["two word France"])
)
def test_parts_that_no_two_others_can_replace_are_left_out(organism, capitals, lone):
    """Of a length that one or two prompts have, a part has no two others to be resampled from: the rest counts."""
    few = prompts, parts, answers, units = [column[:10] for column in capitals]
    odd = [f"The capital of {name} is" for name in lone]
    both = (
        [*prompts, *odd],
        [*parts, *(span(organism, prompt, name) for prompt, name in zip(odd, lone, strict=True))],
        [*answers, *answers[: len(odd)]],
        [*units, *lone],
    )
    without, with_odd = restored_by_mlp(organism, *few), restored_by_mlp(organism, *both)
    assert with_odd.details["left_out"] - without.details["left_out"] == len(odd)
    assert with_odd.score == without.score
    assert with_odd.controls == without.controls


def test_a_planted_fact_is_read_by_the_attention_of_its_layer(stored):
    """Where the last token may not read the part in that layer the answer is lost, and not for another part."""
    subject, encoded = stored
    measurement = read_by_attention(
        subject, encoded.ids, encoded.spans, encoded.answers, encoded.units, share=0.25
    )
    assert measurement.details["layers"] == [READ]
    assert measurement.score > 0.4
    assert measurement.controls[0].score < 0.1


def test_the_score_is_of_the_half_not_chosen_on(organism, capitals):
    """The share lost is that of the chosen window alone, on the countries of the other half."""
    prompts, parts, answers, units = capitals
    measurement = read_by_attention(organism, *capitals, seed=3)
    window = measurement.details["layers"]
    alone = attention_knockout(
        organism,
        prompts,
        parts,
        answers,
        layers=range(organism.num_layers),
        window=len(window),
        units=units,
        seed=3,
    )
    rows = [number for number, layers in enumerate(alone.windows) if list(layers) == window]
    lost = 1 - alone.blocked["probability"][rows[0]] / alone.baseline["probability"]
    _, testing = halves_of_units(units, np.random.default_rng(3))
    assert measurement.score == pytest.approx(np.clip(lost[testing], 0, 1).mean(), abs=1e-5)
    assert measurement.n == len(testing)


def test_an_untrained_model_loses_as_much_anywhere(organism, capitals):
    """The null: in a model with initial weights the country is no other part than the rest of the prompt."""
    measurement = read_by_attention(organism.untrained(0), *capitals)
    assert abs(measurement.score - measurement.controls[0].score) < 0.1


@pytest.mark.parametrize(
    ("num_layers", "share", "windows"),
    [(1, 0.2, ([0], 1)), (4, 0.25, ([0, 1, 2, 3], 1)), (30, 0.2, ([0, 6, 12, 17, 23, 29], 6))],
)
def test_windows_are_spread_over_the_depth(num_layers, share, windows):
    """At most six windows, from the first to the last layer, each of a share of the layers."""
    assert windows_of(num_layers, share) == windows
