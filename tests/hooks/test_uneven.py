"""Traces of prompts of unequal length, and positions by row."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.interventions import Intervention, mean, patch, resample, steer, zero
from lazarus_probe.sites import Site
from tests.tolerance import assert_close

UNEVEN = [[3, 5, 7, 11], [2, 4], [6, 8, 10, 12], [1, 9, 13]]
EVEN = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]
SITES = ["embed", "resid_post.1", "pattern.2", "head_out.0.1", "keys.1", "logits"]


def test_each_prompt_is_what_it_is_alone(grouped):
    """Of prompts of unequal length tokens, logits and every site are those of the prompt alone, in their order."""
    run = trace(grouped, UNEVEN, SITES)
    for row, tokens in enumerate(UNEVEN):
        alone = trace(grouped, tokens, SITES)
        assert_close(grouped, run.logits_of()[row], alone.logits[0])
        for site in SITES:
            assert_close(grouped, run.of(site)[row], alone[site][0], site)


def test_one_position_of_each_is_one_array(grouped):
    """At the last position of each prompt the values are one array, in the order of the prompts."""
    run = trace(grouped, UNEVEN, ["resid_post.1", "head_out.2"], positions="last")
    assert run["resid_post.1"].shape == (4, 1, 32)
    for row, tokens in enumerate(UNEVEN):
        alone = trace(grouped, tokens, "resid_post.1")["resid_post.1"]
        assert_close(grouped, run["resid_post.1"][row, 0], alone[0, -1])


def test_what_is_not_one_array_is_refused(grouped):
    """A value whose shape depends on the length is refused with both shapes and how to read it."""
    run = trace(grouped, UNEVEN, "resid_post.1")
    with pytest.raises(
        ValueError, match=r"resid_post.1 of prompts of unequal length are \(2, 32\) to \(4, 32\)"
    ):
        run["resid_post.1"]
    with pytest.raises(ValueError, match=r"logits of .* read `logits_of\(\)`"):
        _ = run.logits
    with pytest.raises(ValueError, match="see `parts`"):
        _ = run.captures
    with pytest.raises(IndexError, match="position 3 is out of range: the sequence has positions 0 to 1"):
        trace(grouped, UNEVEN, "resid_post.1", positions=3)


def test_edits_act_on_every_length(grouped):
    """An edit acts on prompts of every length as on each alone."""
    edits = [zero("mlp_out.1"), steer("resid_post.2", np.ones(32), 2.0, "last")]
    run = trace(grouped, UNEVEN, (), edits)
    for row, tokens in enumerate(UNEVEN):
        assert_close(grouped, run.logits_of()[row], trace(grouped, tokens, (), edits).logits[0])


@pytest.mark.parametrize("site", ["resid_post.1", "pattern.1", "scores.0.1", "keys.2", "head_out.1.2"])
def test_positions_by_row_are_those_of_each(grouped, site):
    """Captures at positions given by row are the slices of each row's own whole capture."""
    positions = [[1, -1], [3, 0]]
    run, whole = trace(grouped, EVEN, site, positions=positions), trace(grouped, EVEN, site)
    axis = 1 if site in ("pattern.1",) else 0
    for row, places in enumerate(positions):
        expected = np.take(np.array(whole[site][row]), places, axis=axis)
        assert np.array_equal(np.array(run[site][row]), expected)


def test_positions_by_row_of_unequal_prompts(grouped):
    """Positions by row go with their prompts when these run apart."""
    positions = [[1], [0], [-1], [2]]
    run = trace(grouped, UNEVEN, "resid_post.1", positions=positions)["resid_post.1"]
    for row, (tokens, (place,)) in enumerate(zip(UNEVEN, positions, strict=True)):
        assert_close(grouped, run[row, 0], trace(grouped, tokens, "resid_post.1")["resid_post.1"][0, place])


@pytest.mark.parametrize("prompts", [EVEN, [[3, 5, 7, 11], [2, 4, 6, 8, 10]]])
@pytest.mark.parametrize("site", ["resid_post.1", "pattern.1", "head_out.1.2"])
def test_edits_by_row_act_at_each_rows_own(grouped, prompts, site):
    """An edit at positions by row is, of each row, the edit at its position alone."""
    run = trace(grouped, prompts, (), zero(site, [[1], [3]]))
    for row, place in enumerate((1, 3)):
        alone = trace(grouped, prompts[row], (), zero(site, place))
        assert_close(grouped, run.logits_of()[row], alone.logits[0])
        assert not np.allclose(
            np.array(alone.logits), np.array(trace(grouped, prompts[row]).logits), atol=1e-4
        )


@pytest.mark.parametrize(
    ("positions", "error", "message"),
    [
        ([[1], [2, 3]], ValueError, "not equally many in each"),
        ([[1], 2], ValueError, "not equally many in each"),
        ([[], []], ValueError, "not equally many in each"),
        ([[1], [2], [3]], ValueError, "positions has 3 rows for 2 prompts"),
        ([[1], [5]], IndexError, "position 5 is out of range"),
        ([[1], ["a"]], TypeError, "integer"),
    ],
)
def test_positions_that_fit_no_rows_are_refused(grouped, positions, error, message):
    """Rows of unequal numbers, of other prompts, or of positions that do not exist are errors."""
    with pytest.raises(error, match=message):
        trace(grouped, EVEN, "embed", positions=positions)
    with pytest.raises(error, match=message):
        trace(grouped, EVEN, (), patch("embed", 0.0, positions))


def test_a_trace_says_what_it_holds(grouped):
    """`in` and `list` go by sites; a text that names none is refused with the nearest one."""
    run = trace(grouped, EVEN, ["resid_post.1", "embed"])
    assert "resid_post.1" in run
    assert "resid_post.-3" in run
    assert Site("embed") in run
    assert "resid_post.2" not in run
    assert 3 not in run
    assert list(map(str, run)) == ["resid_post.1", "embed"]
    assert len(run) == 2
    with pytest.raises(ValueError, match="did you mean resid_post"):
        _ = "resid_pots.1" in run
    assert mx.array_equal(run["embed"], trace(grouped, EVEN, "embed")["embed"])


@pytest.mark.parametrize("positions", [[3, 1], [-1, 0, 2], [[3, 1], [3, 1]], [[4, 0], [1, 2]]])
@pytest.mark.parametrize("site", ["resid_post.1", "pattern.1", "keys.2", "head_out.1.2"])
def test_an_edit_gets_positions_in_the_order_asked_for(grouped, site, positions):
    """What was captured at positions in any order is put back at the same ones."""
    donors = [prompt[::-1] for prompt in EVEN]
    whole, some = trace(grouped, donors, site)[site], trace(grouped, donors, site, positions=positions)[site]
    axis = 2 if site == "pattern.1" else 1
    rows = positions if isinstance(positions[0], list) else [positions, positions]

    def by_hand(value):
        new = np.moveaxis(np.array(value), axis, 1)
        for row, places in enumerate(rows):
            new[row, places] = np.moveaxis(np.array(whole), axis, 1)[row, places]
        return mx.array(np.moveaxis(new, 1, axis))

    expected = trace(grouped, EVEN, (), Intervention(site, by_hand)).logits
    assert mx.allclose(trace(grouped, EVEN, (), patch(site, some, positions)).logits, expected, atol=1e-5)


@pytest.mark.parametrize("site", ["resid_post.1", "head_out.2.1", "keys.0"])
@pytest.mark.parametrize("make", [patch, resample, mean, steer])
def test_each_prompt_gets_its_own_row(grouped, site, make):
    """Values with a row for each prompt go to that prompt, whatever its length, with their position axis or without."""
    donors = trace(grouped, [prompt[::-1] for prompt in UNEVEN], site, positions="last")[site]
    for rows in (donors, donors[:, 0]):
        logits = trace(grouped, UNEVEN, (), make(site, rows, positions="last")).logits_of()
        for row, tokens in enumerate(UNEVEN):
            alone = trace(grouped, tokens, (), make(site, donors[row : row + 1], positions="last"))
            assert_close(grouped, logits[row], alone.logits[0])


def test_one_value_is_for_all_prompts(grouped):
    """A direction, or one row, is put in for every prompt; as many numbers as prompts are no rows."""
    direction = np.random.default_rng(0).normal(size=32)
    for given in (direction, direction[None, None]):
        logits = trace(grouped, UNEVEN, (), steer("resid_post.1", given)).logits_of()
        for row, tokens in enumerate(UNEVEN):
            alone = trace(grouped, tokens, (), steer("resid_post.1", direction)).logits[0]
            assert_close(grouped, logits[row], alone)


@pytest.mark.parametrize("make", [patch, resample, steer])
def test_rows_of_fewer_prompts_are_refused(grouped, make):
    """Two rows would fit each part of four prompts, two of each length: they are refused, not used twice."""
    prompts = [[3, 5, 7], [2, 4, 6], [1, 2, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(ValueError, match="has 2 rows for 4 prompts; give one a prompt"):
        trace(grouped, prompts, (), make("resid_post.1", np.ones((2, 1, 32)), positions="last"))
