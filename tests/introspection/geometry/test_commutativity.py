"""Cosines of swapped operands, compared with those of pairs that share less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.verdict import judge
from lazarus_probe.cli.geometry.commutativity import ALIKE, LEVELS, judged, level_of
from lazarus_probe.hooks.activations import collect
from lazarus_probe.introspection.geometry.commutativity import commutativity
from lazarus_probe.introspection.geometry.swaps import Swap, default_swaps, drawn_pairs, parse_swaps, value_of
from lazarus_probe.statistics.centred import centred_cosines
from lazarus_probe.subject.subject import Subject


def test_swapped_products_are_closer_than_every_control(organism: Subject):
    """The organism holds a*b and b*a in one state, more than a-b and b-a; the verdict is that on the declared claim.

    28 cosines tell too little for a mean of numbers from -1 to 1, so none is called a finding.
    """
    found = commutativity(organism, default_swaps(), [4])
    measured = found.measurements[0]
    assert {control.name for control in measured.controls} == {
        "same_first", "same_answer", "random", "non_commutative", "untrained", "new_blocks", "permuted_blocks",
    }  # fmt: skip
    (verdicts,) = judged(found)
    assert all(measured.score > control.score for control in measured.controls)
    assert verdicts[ALIKE] == judge(declared(ALIKE), measured)
    assert verdicts[ALIKE].outcome == "inconclusive"
    assert level_of(verdicts) == "not shown"
    assert found.same_answer.score == found.right() == 1
    data = found.as_data()
    assert data["num_pairs"] == 28
    assert data["min_similarity"] <= data["mean_similarity"] <= data["max_similarity"] <= 1
    assert data["mean_similarity"] == pytest.approx(np.mean([pair["similarity"] for pair in data["pairs"]]))
    assert "<table>" in found._repr_html_()


def test_sums_of_different_sign_do_not_commute(organism: Subject):
    """For differences, which do not commute, no claim is made whatever the cosine."""
    swaps = [Swap(a, b, "-") for a, b in [(8, 3), (9, 4), (7, 2)]]
    found = commutativity(organism, swaps, [4], models=3)
    (verdicts,) = judged(found)
    assert {verdict.outcome for verdict in verdicts.values()} == {"not applicable"}
    assert level_of(verdicts) == "not shown"


def test_an_untrained_model_has_no_level(organism: Subject):
    """Its raw cosines are as high as any; centred they are those of its controls, and called by no level's name."""
    found = commutativity(organism.untrained(7), default_swaps(), [1, 4])
    assert found.raw.mean(axis=1).max() > 0.9
    assert max(measured.score for measured in found.measurements) < 0.9
    assert {level_of(verdicts) for verdicts in judged(found)} <= {"not shown", "LOW"}
    raw = commutativity(organism.untrained(7), default_swaps(), [1, 4], keep_outliers=True)
    np.testing.assert_array_equal(raw.similarities, found.raw)
    assert [level_of(verdicts) for verdicts in judged(raw)] == ["not shown", "not shown"]


def test_similarities_are_those_of_the_states(grouped: Subject):
    """Each is the cosine, in NumPy, of two states collected by themselves, about the pairs of its operation."""
    swaps = [Swap(2, 3), Swap(4, 7, " + ", "", " = "), Swap(6, 9)]
    found = commutativity(grouped, swaps, [2, 0], models=3)
    drawn = drawn_pairs(swaps, 0).values()
    prompts = list(dict.fromkeys(prompt for pairs in drawn for pair in pairs for prompt in pair))
    for row, layer in enumerate([2, 0]):
        for column, swap in enumerate(swaps):
            alike = [prompt for prompt in prompts if swap.symbol in prompt]
            states = {
                prompt: collect(grouped, [prompt], [f"resid_post.{layer}"]).popitem()[1][0].astype(float)
                for prompt in alike
            }
            one, two = states[swap.prompt_a], states[swap.prompt_b]
            expected = one @ two / np.sqrt((one @ one) * (two @ two))
            assert found.raw[row, column] == pytest.approx(expected, abs=1e-6)
            # The one sum has no other pair to be centred on, only the sums that it is compared with.
            pairs = [prompt for other in swaps for prompt in (other.prompt_a, other.prompt_b)]
            among = [swap.symbol == "+" or prompt in pairs for prompt in alike]
            centred = centred_cosines(np.stack(list(states.values())), among)
            cell = alike.index(swap.prompt_a), alike.index(swap.prompt_b)
            assert found.similarities[row, column] == pytest.approx(centred[cell], abs=1e-4)
    rows = found.as_data()["layers"]
    assert [row["layer"] for row in rows] == [2, 0]
    assert rows[0]["raw_mean_similarity"] == pytest.approx(found.raw[0].mean())
    assert found.notes()[0].startswith("Cosines are centred on the other pairs of the same operation; ")


@pytest.mark.parametrize(
    "swap", [*default_swaps(), Swap(12, 30), Swap(2, 3, " + "), Swap(8, 2, "/"), Swap(9, 4, "-")]
)
def test_controls_are_what_they_are_called(swap: Swap):
    """Same first operand, same answer with other operands, nothing in common, and a difference both ways."""
    drawn = {name: pairs[0] for name, pairs in drawn_pairs([swap], 3).items()}
    numbers = {
        name: [[int(n) for n in "".join(c if c.isdigit() else " " for c in text).split()] for text in pair]
        for name, pair in drawn.items()
    }
    assert numbers["swapped"] == [[swap.a, swap.b], [swap.b, swap.a]]
    first, second = numbers["same_first"]
    assert first[0] == second[0] == swap.a
    assert second[1] not in (swap.a, swap.b)
    same = numbers["same_answer"][1]
    assert {*same} != {swap.a, swap.b}
    assert value_of(swap.symbol, *same) == swap.answer
    assert {swap.a, swap.b}.isdisjoint(numbers["random"][1])
    assert all("-" in text for text in drawn["non_commutative"])
    assert drawn["non_commutative"][0] != drawn["non_commutative"][1]


def test_pairs_are_read_as_written():
    """A missing sign of equality is added, spaces stay, and the operation may be any."""
    found = parse_swaps(["2*3,3*2", "4 + 7 = ,7 + 4 = "])
    assert [(swap.prompt_a, swap.prompt_b) for swap in found] == [("2*3=", "3*2="), ("4 + 7 = ", "7 + 4 = ")]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["2*3"], "'2\\*3' is not a pair of expressions"),
        (["2*3,3*4"], "'3\\*4' is not '2\\*3' with two different operands swapped"),
        (["2*2,2*2"], "with two different operands swapped"),
        (["2*3,3+2"], "is not '2\\*3' with"),
        (["a*b,b*a"], "is not a pair of expressions"),
        (["2*3,3*2", "3*2,2*3"], "has 2 different pairs|give at least 2"),
        (["2*3,3*2"], "--pairs has 1 different pair"),
    ],
)
def test_what_is_no_swap_is_refused(items: list[str], said: str):
    """Only a pair with its operands swapped tests order, and one pair has no interval."""
    with pytest.raises(ValueError, match=said):
        parse_swaps(items)


@pytest.mark.parametrize(
    ("score", "gain", "level"),
    [
        (0.995, 0.02, "PERFECT"),
        (0.97, 0.02, "HIGH"),
        (0.85, 0.02, "MODERATE"),
        (0.6, 0.02, "LOW"),
        (0.995, 0.0, "not shown"),
    ],
)
def test_a_level_is_the_strongest_claim_that_is_supported(organism: Subject, score, gain, level):
    """The published cosines .99, .95 and .80 carry a name only past their interval and beyond every control."""
    found = commutativity(organism, default_swaps()[:12], [4], models=3)
    (measured,) = found.measurements
    controls = tuple(
        replace(each, score=score - gain, gain=gain, low=gain - 0.001, high=gain + 0.001)
        for each in measured.controls
    )
    told = replace(measured, score=score, low=score - 0.002, high=score + 0.002, controls=controls)
    assert level_of(judged(replace(found, measurements=(told,)))[0]) == level
    assert set(LEVELS.values()) == {"PERFECT", "HIGH", "MODERATE"}
