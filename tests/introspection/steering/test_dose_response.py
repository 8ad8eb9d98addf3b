"""Dose-response curves, against a planted direction, tests by hand, and models and directions that do nothing."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from mlx.utils import tree_map_with_path
from scipy.special import rel_entr, stdtrit

from lazarus_probe.cli.steering.dose import verdict_of
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.introspection.steering.control_directions import random_directions
from lazarus_probe.introspection.steering.dose_curves import TITLES
from lazarus_probe.introspection.steering.dose_effect import Effect
from lazarus_probe.introspection.steering.dose_response import dose_response
from lazarus_probe.introspection.steering.log_odds import gained
from lazarus_probe.introspection.steering.targets import target_metrics, target_of
from lazarus_probe.subject import Subject
from lazarus_probe.subject.spellings import spellings
from tests.cases import slow_except

LETTERS = "nopqrstuvwxyz"
DOSES = [0.0, 0.5, 1.0, -1.0]


@pytest.fixture(scope="module")
def planted(make_llama, tokenizer):
    """Says `b` along the first coordinate of the embedding, and `a` against it; nothing else acts on that."""
    model = make_llama(0, vocab_size=64, tie_word_embeddings=False)

    def silent(name, value):
        if "norm" in name:
            return mx.ones_like(value)
        return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

    model.update(tree_map_with_path(silent, model.parameters()))
    rng = np.random.default_rng(0)
    table, head = 0.3 * rng.normal(size=(64, 32)), 0.05 * rng.normal(size=(64, 32))
    table[:, 0] = -2
    for letter, sign in (("b", 1), ("a", -1)):
        head[tokenizer.encode(letter, add_special_tokens=False)[0]] = 4 * sign * np.eye(32)[0]
    model.model.embed_tokens.weight = mx.array(table.astype(np.float32))
    model.lm_head.weight = mx.array(head.astype(np.float32))
    return Subject.from_model(model, tokenizer, "planted")


@pytest.fixture(scope="module")
def found(planted):
    """What the planted direction does to letters that are followed by `a`."""
    return dose_response(planted, list(LETTERS), 4 * np.eye(32)[0], 1, DOSES, target="b", max_tokens=1)


def test_a_plot_shows_each_effect_with_its_intervals(found):
    """Two panels a row, each under the words for its effect, with a line from end to end of each interval."""
    figure = found.figure()
    panels = dict(zip(found.effects, figure.axes, strict=True))
    assert {name: axes.get_title() for name, axes in panels.items()} == {
        name: TITLES[name] for name in panels
    }
    assert len({round(axes.get_position().x0, 1) for axes in figure.axes}) == 2
    for name, axes in panels.items():
        shares = name in ("changed", "target_probability", "target_answered")
        assert (axes.get_ylim() == (-0.03, 1.03)) == shares  # a share of nearly nothing looks like that
        lines = [part for part in axes.collections if isinstance(part, LineCollection)]
        drawn = {tuple(map(tuple, ends)) for part in lines for ends in part.get_segments()}
        for row in found.rows():
            low, high, dose = row[name]["low"], row[name]["high"], row["coefficient"]
            assert low is None or ((dose, low), (dose, high)) in drawn


def test_the_planted_direction_steers(found):
    """The direction that was put in is said to steer; a random one of its norm is not."""
    steers, reason = verdict_of(found)
    assert steers
    assert "supported" in reason
    assert found.measurement().details["coefficient"] == 1.0
    row = found.rows()[2]["target_probability"]
    assert row["mean"] > 0.9 > 0.2 > row["random_high"]
    assert (row["p"], row["n"]) == (0.05, len(LETTERS))
    assert found.rows()[0]["target_probability"]["p"] is None
    assert found.answers[2] == ("b",) * len(LETTERS)


def test_other_directions_do_not(planted):
    """A direction drawn at random is not said to steer; nor is any without a target, or on one prompt."""
    drawn = random_directions(4 * np.eye(32)[0], 1, seed=5)[0]
    prompts = list(LETTERS)
    assert not verdict_of(dose_response(planted, prompts, drawn, 1, DOSES, target="b", max_tokens=1))[0]
    along = {"layer": 1, "doses": [1.0], "max_tokens": 1}
    for asked, target, count, why in (
        (prompts, None, 19, "no --target"),
        (prompts[:1], "b", 19, "one prompt"),
        (prompts, "b", 0, "no random directions"),
        (prompts, "b", 9, "p = 0.1"),
        (prompts[:3], "b", 19, "3 independent groups"),
    ):
        result = dose_response(planted, asked, 4 * np.eye(32)[0], **along, target=target, random=count)
        steers, reason = verdict_of(result)
        assert not steers
        assert why in reason


def test_effects_are_those_of_single_runs(planted, found):
    """KL, probability, logit difference and changed answers of a cell are those of one run by itself."""
    p, dose = 3, 1
    prompt = LETTERS[p]
    b = spellings(planted, "b")
    others = np.setdiff1d(np.arange(64), b)
    push = steer(resid_post(1), 4 * DOSES[dose] * np.eye(32)[0].astype(np.float32), positions="last")
    before, after = (
        np.array(mx.softmax(trace(planted, prompt, interventions=edits).logits[0, -1]), dtype=np.float64)
        for edits in ([], [push])
    )
    effects = {name: effect.values[dose, p] for name, effect in found.effects.items()}
    assert effects["kl"] == pytest.approx(rel_entr(before, after).sum(), rel=1e-3)
    assert effects["target_probability"] == pytest.approx(after[b].sum(), rel=1e-3)
    log_odds = np.log(after[b].sum() / after[others].sum())
    assert effects["target_log_odds"] == pytest.approx(log_odds, abs=1e-3)
    rival = others[np.argmax(before[others])]
    assert effects["target_logit_diff"] == pytest.approx(np.log(after[b].sum() / after[rival]), rel=1e-3)
    assert effects["changed"] == float(after.argmax() != before.argmax())
    random = random_directions(4 * np.eye(32)[0], 19, 0)[7] * DOSES[dose]
    push = steer(resid_post(1), random.astype(np.float32), positions="last")
    probability = np.array(mx.softmax(trace(planted, prompt, interventions=[push]).logits[0, -1]))[b].sum()
    assert found.effects["target_probability"].random[7, dose, p] == pytest.approx(probability, rel=1e-3)


@pytest.mark.parametrize(("position", "where"), [("onward", "last"), ("all", "all")])
def test_damage_is_that_of_the_best_push(planted, position, where):
    """Unrelated prompts are moved as far as a loop of runs pushed by the best dose moves them."""
    few = Unrelated(("ab", "1 + 2", "car"), ("ab", "sum", "car"))
    vector = 4 * np.eye(32)[0]
    result = dose_response(
        planted, list("no"), vector, 1, DOSES, target="b", position=position, max_tokens=1, unrelated=few
    )
    push = steer(resid_post(1), vector.astype(np.float32), positions=where)
    moved = []
    for text in few.prompts:
        before, after = (
            np.array(mx.softmax(trace(planted, text, interventions=edits).logits[0, -1]), dtype=np.float64)
            for edits in ([], [push])
        )
        moved.append(np.abs(after - before).sum() / 2)
    measured = result.measurement()
    assert measured.details["coefficient"] == 1.0
    assert measured.damage.score == pytest.approx(np.mean(moved), abs=1e-5)
    assert result.as_data()["damage"]["score"] == measured.damage.score > 0.5


def test_no_push_does_no_damage(planted, found):
    """A dose of 0 moves nothing; without a target nothing is claimed, and there is no damage to tell."""
    along = {"layer": 1, "doses": [0.0], "max_tokens": 1}
    assert dose_response(planted, ["n", "o"], np.ones(32), **along, target="b").damage.score == 0
    assert dose_response(planted, ["n", "o"], np.ones(32), **along).as_data()["damage"] is None
    assert "; damage: next-token probability moved on unrelated prompts" in verdict_of(found)[1]


def test_doses_share_one_false_alarm():
    """A dose's p is how many random curves reach its standing at any dose, this one counted among them."""
    rng = np.random.default_rng(1)
    values, random = rng.normal(size=(3, 4)), rng.normal(size=(30, 3, 4))
    values[1] += 0.9
    values[2], random[:, 2] = 1.0, 1.0
    effect = Effect("kl", values, random, np.zeros(4), ("a", "b", "c", "d"), (1.0, 2.0, 3.0))
    curves = np.array([values.mean(1), *random.mean(2)])[:, :2]
    standing = (curves - curves.mean(0)) / curves.std(0)
    expected = [(1 + sum(row.max() >= standing[0, k] for row in standing[1:])) / 31 for k in range(2)]
    assert effect.p()[:2] == pytest.approx(expected)
    assert effect.p()[2] is None
    assert Effect("kl", values, random[:0], np.zeros(4), ("a",) * 4, (1.0, 2.0, 3.0)).p() == [None] * 3


def test_false_alarms_are_as_rare_as_they_say():
    """Where the direction is one like the others, its smallest p is at most 0.1 in about a tenth of the draws."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(300):
        curves = rng.gamma(1.0, size=(20, 1)) * np.array([0.1, 1.0, 5.0]) + rng.normal(size=(20, 3))
        effect = Effect("kl", curves[0][:, None], curves[1:, :, None], np.zeros(1), ("a",), (1.0, 2.0, 3.0))
        alarms += min(effect.p()) <= 0.1
    assert 10 <= alarms <= 48


def test_intervals_stay_within_what_an_effect_can_be():
    """Shares that are all 1 have an interval below 1; logits have Student's; repeated prompts count once."""
    ones = Effect("changed", np.ones((1, 4)), np.ones((0, 1, 4)), np.zeros(4), ("a", "b", "c", "d"), (1.0,))
    interval = ones.interval(0)
    assert interval.low < 0.6
    assert interval.high == 1
    values = np.array([[1.0, 2.0, 4.0]])
    effect = Effect("target_logit_diff", values, np.ones((0, 1, 3)), np.zeros(3), ("a", "b", "c"), (1.0,))
    reach = stdtrit(2, 0.975) * values.std(ddof=1) / np.sqrt(3)
    assert effect.interval(0).high == pytest.approx(7 / 3 + reach)
    kl = Effect("kl", np.array([[0.0, 1.0]]), np.ones((0, 1, 2)), np.zeros(2), ("a", "b"), (1.0,))
    assert kl.interval(0).low == 0
    assert (
        Effect("kl", np.ones((1, 2)), np.ones((0, 1, 2)), np.zeros(2), ("a", "a"), (1.0,)).interval(0) is None
    )


def test_a_target_is_a_token_or_a_number(organism):
    """Numbers of several tokens are scored by what is said, words by their spellings, all else is refused."""
    assert target_of(organism, None) == ({}, None)
    assert target_of(organism, " Paris") == ({" Paris": organism.single_token(" Paris")}, None)
    both = [*spellings(organism, "Paris"), *spellings(organism, "Rome")]
    tokens, number = target_of(organism, "Paris, Rome,Paris")
    assert (list(tokens.values()), number) == (both, None)
    assert target_of(organism, "2209") == ({}, 2209.0)
    with pytest.raises(ValueError, match=r"target 'zugzwang' is not one token"):
        target_of(organism, "zugzwang")
    result = dose_response(
        organism, ["47 * 47 = ", "46 * 46 = "], np.ones(128), 4, [0.0], target="2209", random=2
    )
    assert result.effects["target_answered"].values.tolist() == [[1.0, 0.0]]
    assert result.primary == "target_answered"


def test_curves_are_in_order_of_the_dose(found):
    """Curves go from the smallest coefficient to the largest, with the range of the random directions."""
    curve, random = found.curves("kl")
    assert curve.x == random.x == (-1.0, 0.0, 0.5, 1.0)
    assert curve.y[1] == pytest.approx(0, abs=1e-6)
    assert all(low <= y <= high for low, y, high in zip(random.low, random.y, random.high, strict=True))
    assert "Probability of the target" in found._repr_html_()


def test_no_doses_is_refused(planted):
    """There is nothing to measure without a coefficient."""
    with pytest.raises(ValueError, match="no doses"):
        dose_response(planted, ["a"], np.ones(32), 1, [])


def test_a_small_probability_is_moved_far_in_log_odds(planted):
    """Judged against controls alone, a direction from .001 to .01 steers; with a threshold on the probability not."""
    weak = 1.2 * np.eye(32)[0]
    result = dose_response(planted, list(LETTERS), weak, 1, [1.0], target="b", max_tokens=1)
    row = result.rows()[0]
    assert row["target_probability"]["mean"] < 0.1
    assert row["target_log_odds"]["mean"] > row["target_log_odds"]["random_high"]
    steers, reason = verdict_of(result)
    assert steers, reason
    assert "in nats" in reason
    steers, reason = verdict_of(result, threshold=0.1)
    assert not steers
    assert "at least 0.1" in reason
    strong = dose_response(planted, list(LETTERS), 4 * np.eye(32)[0], 1, [1.0], target="b", max_tokens=1)
    assert verdict_of(strong, threshold=0.5)[0]


def test_the_tokens_of_a_target_count_together():
    """Log-odds, probability and logit difference of several tokens are those of their sum."""
    logits = np.random.default_rng(0).normal(size=(2, 3, 9)) * 3
    before, after = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    values = target_metrics([2, 7])(mx.array(after), mx.array(before))
    p, rest = np.exp(after[:, [2, 7]]).sum(1), np.delete(after, [2, 7], axis=1)
    rival = np.take_along_axis(rest, np.delete(before, [2, 7], axis=1).argmax(1)[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(np.array(values["target_probability"]), p, rtol=1e-4)
    np.testing.assert_allclose(np.array(values["target_log_odds"]), np.log(p / (1 - p)), atol=1e-4)
    np.testing.assert_allclose(np.array(values["target_logit_diff"]), np.log(p) - rival, atol=1e-4)


def test_gains_in_log_odds_are_those_of_student():
    """The gain over random directions holds for one more of them, by hand; a repeated prompt counts once."""
    gains, random = np.array([2.0, 3.0, 2.5, 2.5]), np.arange(20.0).reshape(5, 4) / 20
    measured = gained("gain", gains, ["a", "b", "c", "c"], random, p=0.05)
    by_prompt = np.array([2.0, 3.0, 2.5])
    reach = stdtrit(2, 0.975) * by_prompt.std(ddof=1) / np.sqrt(3)
    assert (measured.score, measured.groups) == (pytest.approx(2.5), 3)
    assert (measured.low, measured.high) == pytest.approx((2.5 - reach, 2.5 + reach))
    by_direction, unsteered = random.mean(axis=1), measured.controls[1]
    over = gains - random.mean(axis=0)
    over = np.array([over[0], over[1], over[2:].mean()])
    of_prompts = stdtrit(2, 0.975) * over.std(ddof=1) / np.sqrt(3)
    of_directions = stdtrit(4, 0.975) * by_direction.std(ddof=1) * np.sqrt(1 + 1 / 5)
    assert measured.controls[0].low == pytest.approx(over.mean() - np.hypot(of_prompts, of_directions))
    assert (unsteered.name, unsteered.score, unsteered.low) == ("unsteered", 0.0, pytest.approx(measured.low))


@pytest.mark.parametrize("draws", slow_except([6, 12], 6))
def test_a_random_direction_is_rarely_said_to_steer(planted, draws):
    """Of directions drawn like the controls one in twenty is said to steer, at most."""
    alarms = 0
    for seed in range(draws):
        drawn = random_directions(4 * np.eye(32)[0], 1, seed=100 + seed)[0]
        result = dose_response(
            planted, list(LETTERS), drawn, 1, [-1.0, 1.0], target="b", max_tokens=1, seed=seed
        )
        alarms += verdict_of(result)[0]
    assert alarms <= draws // 6
