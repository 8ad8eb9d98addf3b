"""Blends, and donors of other lengths than their targets, against the naive loop: one plain patched forward a cell."""

from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest

from lazarus_probe.sweep import Donors, Mean, Resample, Zero, answer, kl, route_of, routes, sweep

TARGETS = ["12*ab = ", "bb*d=", [3, 4, 5, 6, 7]]
EQUAL = ["12*bb = ", "bd*a=", [3, 4, 9, 7, 7]]
UNEQUAL = ["2*bb = ", "12*bd*a=", [3, 4, 5]]
ROUTES = [{}, {"adds_mlp": False}, {"name": "layers", "tail": False}, {"name": "full", "tail": False}]


def some_sites(subject, *names):
    return [naive.resolve(name, subject.anatomy) for name in names]


@pytest.fixture
def routed(monkeypatch, grouped, request):
    """The grouped Llama on another route."""
    monkeypatch.setitem(routes._routes, grouped, replace(route_of(grouped), **request.param))
    return grouped


def swept(subject, sites, sources, **options):
    return sweep(subject, TARGETS, sites, sources=sources, metrics=naive.METRICS, **options)


@pytest.mark.parametrize("routed", ROUTES, ids=["suffix", "MLP inside", "layers", "full"], indirect=True)
@pytest.mark.parametrize("positions", [[2, -1], "all"], ids=["positions", "all"])
def test_a_blend_is_the_naive_loop(routed, positions):
    """A share of the donor's value, the rest the run's own, on every route and for every kind of source."""
    sites = some_sites(routed, "resid_post.1", "mlp_out.2", "head_out.0.1", "keys.1", "scores.2")
    sources = {"donor": Donors(EQUAL), "zero": Zero()}
    result = swept(routed, sites, sources, positions=positions, blend=0.3)
    assert naive.worst(routed, result, TARGETS, sources, 0.3) <= naive.tolerance(routed, TARGETS)
    whole = swept(routed, sites, sources, positions=positions)
    assert np.nanmax(np.abs(result.values["logit 0"] - whole.values["logit 0"])) > 0.01


def test_nothing_blended_in_changes_nothing(grouped):
    """The null: with a blend of 0 every cell is the untouched run, whatever the source holds, up to rounding."""
    sites = some_sites(grouped, "resid_post.0", "resid_post.3", "mlp_out.1", "scores.1", "keys.2")
    rows = {site: np.full((1, 32), 1e3) for site in sites if site.kind in ("resid_post", "mlp_out")}
    plain, tolerance = [site for site in sites if site in rows], naive.tolerance(grouped, TARGETS)
    for some, sources in (
        (sites, {"donor": Donors(EQUAL), "zero": Zero()}),
        (plain, {"far": Mean({site: row[0] for site, row in rows.items()}), "drawn": Resample(rows)}),
    ):
        for positions in ([1, -1], "all"):
            result = swept(grouped, some, sources, positions=positions, blend=0)
            change = [
                result.values[each.name] - result.baseline[each.name][:, None, None, None]
                for each in naive.METRICS
            ]
            assert np.nanmax(np.abs(change)) <= tolerance


def test_a_whole_blend_is_a_patch(grouped):
    """With a blend of 1 every cell is, bit for bit, that of a sweep without one."""
    sites, sources = naive.sites_of(grouped, "resid_post", "attn_out"), {"donor": Donors(EQUAL)}
    whole, plain = swept(grouped, sites, sources, blend=1), swept(grouped, sites, sources)
    for metric in naive.METRICS:
        np.testing.assert_array_equal(whole.values[metric.name], plain.values[metric.name])


@pytest.mark.parametrize("routed", ROUTES, ids=["suffix", "MLP inside", "layers", "full"], indirect=True)
def test_donors_of_other_lengths_are_the_naive_loop(routed):
    """A position counts in either prompt by itself, from its start or from its end; what one lacks is NaN."""
    sites = some_sites(routed, "resid_post.1", "resid_pre.0", "mlp_out.3", "head_out.2.1", "queries.1")
    sources = {"donor": Donors(UNEQUAL, equal_lengths=False), "equal": Donors(EQUAL), "zero": Zero()}
    result = swept(routed, sites, sources, positions=[2, 4, -1, -4], blend=0.6)
    assert np.isnan(result.values["logit 0"][2, 0, 0]).tolist() == [False, True, False, True]
    assert naive.worst(routed, result, TARGETS, sources, 0.6) <= naive.tolerance(routed, TARGETS)


def test_donors_read_from_their_own_last_position(grouped):
    """With positions "last" and "each", the metrics of the donors themselves included."""
    sites = some_sites(grouped, "resid_post.0", "resid_post.3")
    sources = {"donor": Donors(UNEQUAL, equal_lengths=False)}
    for positions in ("last", "each"):
        result = swept(grouped, sites, sources, positions=positions)
        assert naive.worst(grouped, result, TARGETS, sources) <= naive.tolerance(grouped, TARGETS)
    for number, donor in enumerate(UNEQUAL):
        assert result.donors["logit 3"][number, 0] == pytest.approx(naive.logits(grouped, donor)[3], abs=1e-4)


@pytest.mark.usefixtures("no_ties")
def test_answers_of_other_lengths_and_blends_are_the_naive_loop(grouped):
    """What is generated under a blended patch from a donor of another length; and what the donor itself says."""
    targets, donors = TARGETS[:2], UNEQUAL[:2]
    source, changed = Donors(donors, equal_lengths=False), 0
    sites = some_sites(grouped, "resid_post.0", "resid_post.2", "keys.1")
    options = {"metrics": [answer(4)], "positions": [1, -1], "blend": 0.8}
    result = sweep(grouped, targets, sites, sources={"donor": source}, **options)
    for number, target in enumerate(targets):
        length = len(naive.ids_of(grouped, target))
        assert result.donors["answer"][number, 0] == naive.answer(grouped, donors[number], None, 4)
        for row, site in enumerate(sites):
            for column, position in enumerate((1, -1)):
                edit = naive.edit_of(grouped, source, number, site, position, length, (), 0.8)
                got = result.values["answer"][number, 0, row, column]
                assert got == naive.answer(grouped, target, edit, 4), (number, site, position)
                changed += got != result.baseline["answer"][number]
    assert changed > 2


def test_donors_equal_to_their_targets_at_any_length_change_nothing(grouped):
    """The null of donors that may differ in length: the target itself as its donor is the untouched run."""
    result = sweep(
        grouped,
        TARGETS,
        naive.sites_of(grouped, "resid_post"),
        sources={"self": Donors(TARGETS, equal_lengths=False)},
        metrics=[kl()],
    )
    assert np.nanmax(np.abs(result.values["kl"])) == 0


@pytest.mark.parametrize(
    ("sites", "options", "message"),
    [
        (["resid_post.1"], {"blend": 1.2}, r"blend is 1\.2; give a share from 0 to 1"),
        (["resid_post.1"], {"blend": float("nan")}, "blend is nan"),
        (
            ["resid_post.1"],
            {"positions": "all"},
            "pair 1 of source 'd': the donor has 8 tokens and the target 6; positions 'all' can be patched between",
        ),
        (
            ["pattern.1"],
            {"positions": "last"},
            r"pattern\.1 can be patched between prompts of equal length only",
        ),
    ],
)
def test_what_needs_equal_lengths_is_refused(grouped, sites, options, message):
    """All positions at once, and values as long as their prompt, have no meaning between unequal prompts."""
    sources = {"d": Donors(UNEQUAL, equal_lengths=False)}
    with pytest.raises(ValueError, match=message):
        sweep(grouped, TARGETS, sites, sources=sources, metrics=[kl()], **options)
