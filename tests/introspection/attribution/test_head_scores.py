"""Head scores against a naive loop, on an induction circuit set by hand, and on models that have none."""

# ruff: noqa: N806 - L is the name that the field gives to the length

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest

from lazarus_probe.claims.verdict import decide
from lazarus_probe.cli.attribution.heads import kind_lines
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.attribution import head_scores as module
from lazarus_probe.introspection.attribution import named_heads
from lazarus_probe.introspection.attribution.head_scores import attention_to, head_scores
from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens
from lazarus_probe.organisms.planted import heads
from lazarus_probe.statistics.student import mean_t_interval, next_above
from lazarus_probe.subject import Subject

LENGTH = 16


@pytest.fixture(scope="module")
def planted():
    """Head 0 of layer 0 looks one token back, head 1 of layer 1 for the token that came after this one."""
    circuit = heads.induction()
    return Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)


def test_the_planted_heads_are_named_and_no_others(planted):
    """The induction head and the previous-token head are found where they were put, and the repetition is foreseen."""
    found = head_scores(planted, LENGTH, 5, untrained=3)
    assert found.kinds["induction"].named == ((1, 1),)
    assert found.kinds["duplicate"].named == ()
    assert (0, 0) in found.kinds["previous"].named
    # The scratch heads, the last of each layer, look back a distance that was drawn: one may be 1.
    assert set(found.kinds["previous"].named) <= {(0, 0), (0, 3), (1, 3)}
    assert found.kinds["induction"].best == (1, 1)
    assert found.kinds["induction"].score[1, 1] > 0.8
    assert found.kinds["induction"].control[1, 1] < 0.2
    assert found.copying_gain[1] > 1.0
    assert found.as_data()["induction"]["named"] == [{"layer": 1, "head": 1, "name": "induction head"}]
    assert "control 0." in found._repr_html_()


@pytest.mark.parametrize("seed", range(2))
def test_untrained_models_have_no_such_heads(organism, make_llama, tokenizer, seed):
    """The null: nothing is named in an untrained model, nor in one with grouped heads, at several seeds."""
    for model in (
        organism.untrained(seed),
        Subject.from_model(make_llama(seed, num_attention_heads=8, num_key_value_heads=2), tokenizer),
    ):
        scores = head_scores(model, 8, 5, untrained=3, seed=seed)
        assert all(kind.named == () for kind in scores.kinds.values())
        assert all(np.nanmin(kind.p) >= 1 / 32 for kind in scores.kinds.values())


def _measured(gains):
    """What a model with those gains (R, kinds, layers, H) over controls of 0 is measured to do."""
    by_kind = dict(zip(module.KINDS, np.moveaxis(gains, 1, 0), strict=True))
    return module.Measured(by_kind, {name: 0 * value for name, value in by_kind.items()})


@pytest.mark.parametrize("rows", [5, 8, 16])
def test_real_heads_are_named_beside_larger_ones(rows):
    """A head of .3 is named whether or not there are heads of .9, and heads that depend on each other are not."""
    rng = np.random.default_rng(rows)
    models = {
        kind: [_measured(rng.normal(0, 0.002, size=(rows, 3, 4, 9))) for _ in range(3)]
        for kind in ("untrained", "new_blocks", "permuted_blocks")
    }
    gains = rng.normal(0, 0.01, size=(rows, 3, 4, 9)) + rng.normal(0, 0.05, size=(rows, 1, 1, 1))
    real = {(0, 0, 0): 0.9, (0, 1, 4): 0.8, (0, 3, 8): 0.3, (1, 2, 2): 0.3, (2, 1, 1): 0.85, (2, 0, 3): 0.31}
    for at, size in real.items():
        gains[(slice(None), *at)] = size + rng.normal(0, 0.02, size=rows)
    kinds = module.judged(_measured(gains), models, module.declared(module.CLAIM), seed=0)
    named = {(number, *head) for number, kind in enumerate(kinds.values()) for head in kind.named}
    assert named == set(real)
    lines = kind_lines("induction", kinds["induction"], 1, 0.2)
    assert next(line for line in lines if "named as well" in line).count("L") == 2, (
        "all named heads are printed"
    )


@pytest.mark.parametrize("rows", [5, 16])
def test_heads_are_named_by_chance_in_five_of_a_hundred_at_most(rows, monkeypatch):
    """Heads without an effect, whose large gains change sign together and have heavy tails, are hardly ever named."""
    monkeypatch.setattr(
        named_heads, "judge", decide
    )  # the same outcome, without advice on the number of rows
    rng, alarms, signs = np.random.default_rng(rows), 0, 0
    still = _measured(np.zeros((rows, 3, 2, 6)) + rng.normal(0, 1e-4, size=(rows, 1, 1, 1)))
    models = dict.fromkeys(("untrained", "new_blocks", "permuted_blocks"), [still] * 3)
    for _ in range(150):
        shared = rng.standard_t(2, size=(rows, 1, 1, 2))[..., rng.integers(2, size=6)]
        gains = 0.3 * np.tanh(shared + rng.standard_t(2, size=(rows, 3, 2, 6)))
        kinds = module.judged(_measured(gains), models, module.declared(module.CLAIM), seed=0)
        alarms += any(kind.named for kind in kinds.values())
        signs += any(np.nanmin(kind.p) <= 0.05 for kind in kinds.values())
    for count in (alarms, signs):
        assert binomtest(count, 150, 0.05, alternative="greater").pvalue > 0.01


def test_scores_are_those_of_a_naive_loop(grouped):
    """Each score is the mean, over the tokens named in its definition, of one number of the attention pattern."""
    drawn = repeated_tokens(grouped, 6, 2, seed=3)
    pattern = np.array(trace(grouped, drawn.repeated, "pattern.2")["pattern.2"])
    found = attention_to(pattern, drawn.start, 6)
    for row, tokens in enumerate(drawn.repeated.tolist()):
        L, sums = len(tokens), {"induction": [], "duplicate": [], "previous": []}
        for at in range(1, L):
            sums["previous"].append(pattern[row, 1, at, at - 1])
            if at > 6:  # after the beginning of sequence and the first half
                before = tokens.index(tokens[at])
                sums["duplicate"].append(pattern[row, 1, at, before])
                sums["induction"].append(pattern[row, 1, at, before + 1])
        for name, values in sums.items():
            assert found[name][row, 1] == pytest.approx(np.mean(values), abs=1e-6)


def test_rows_repeat_and_the_other_order_shares_no_place(organism):
    """A half comes twice; in the other order no token has its place, or the token before it, of the first half."""
    drawn = repeated_tokens(organism, 8, 6, seed=1)
    first = drawn.repeated[:, 1:9]
    assert (drawn.repeated[:, 9:] == first).all()
    assert (drawn.repeated[:, 0] == organism.tokenizer.bos_token_id).all()
    for half, other in zip(first.tolist(), drawn.shuffled[:, 9:].tolist(), strict=True):
        assert len(set(half)) == 8
        assert sorted(half) == sorted(other)
        assert all(a != b for a, b in zip(half, other, strict=True))
        follows = set(pairwise(half))
        assert not follows & set(pairwise(other))
    special = set(organism.tokenizer.all_special_ids)
    assert not special & set(first.ravel().tolist())
    assert (repeated_tokens(organism, 8, 6, seed=2).repeated != drawn.repeated).any()
    assert set(repeated_tokens(organism, 4, 2, vocabulary=[7, 8, 9, 10]).repeated[:, 1:].ravel()) == {
        7,
        8,
        9,
        10,
    }


def test_batches_of_rows_change_nothing(grouped, monkeypatch):
    """Rows that are run one by one have the scores of rows that are run together."""
    whole = head_scores(grouped, 5, 5, untrained=3)
    monkeypatch.setattr(module, "PATTERN_BYTES", 1)
    single = head_scores(grouped, 5, 5, untrained=3)
    for name, kind in whole.kinds.items():
        np.testing.assert_allclose(kind.score, single.kinds[name].score, atol=1e-5)


def test_what_cannot_be_scored_is_refused(grouped):
    """An error says what would do."""
    with pytest.raises(ValueError, match="at least 5"):
        head_scores(grouped, 8, 4)
    with pytest.raises(ValueError, match="2 untrained models"):
        head_scores(grouped, 8, 5, untrained=2)
    with pytest.raises(ValueError, match="length is 3"):
        head_scores(grouped, 3, 5)
    with pytest.raises(ValueError, match="there are 2 tokens"):
        head_scores(grouped, 8, 5, vocabulary=[5, 6])


def test_estimates_are_those_of_student():
    """The interval over rows is Student's, and the prediction interval covers what it promises."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 2))
    found = mean_t_interval(values)
    reach = 2.306004 * values.std(axis=0, ddof=1) / 3  # the 97.5% quantile of t with 8 degrees of freedom
    np.testing.assert_allclose(found.low, values.mean(axis=0) - reach, rtol=1e-6)
    np.testing.assert_allclose(found.high, values.mean(axis=0) + reach, rtol=1e-6)
    assert np.isnan(mean_t_interval([1.0]).low)
    draws = rng.normal(size=(2000, 6))
    below = np.mean([row[5] <= next_above(row[:5]) for row in draws])
    assert below == pytest.approx(0.975, abs=0.012)
    with pytest.raises(ValueError, match="at least 3"):
        next_above([1.0, 2.0])
