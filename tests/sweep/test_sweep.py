"""Every route and option of a sweep against the naive loop: one whole forward a cell."""

from __future__ import annotations

from dataclasses import replace

import naive
import numpy as np
import pytest

from lazarus_probe import Subject
from lazarus_probe.sweep import (
    Cell,
    Donors,
    Mean,
    Resample,
    Zero,
    answer,
    batch,
    kl,
    logit_diff,
    probability,
    rank,
    route_of,
    routes,
    sweep,
)
from tests.cases import slow_except
from tests.tolerance import of_logits, possible_ranks

TARGETS = ["12*ab = ", "bb*d=", "12 ab = 1", [3, 4, 5, 6, 7, 8, 9]]
DONORS = ["12*bb = ", "bd*a=", "12 ab+b 9", [3, 4, 5, 9, 7, 7, 9]]
RESIDUAL = ("resid_pre", "resid_mid", "resid_post")
PARTS = ("attn_out", "mlp_out", "head_out", "neurons")
STEPS = ("queries", "keys", "values", "scores", "pattern")


def swept(subject, sites, sources, **options):
    return sweep(subject, TARGETS, sites, sources=sources, metrics=naive.METRICS, **options)


@pytest.fixture
def by_route(monkeypatch, grouped):
    """Makes the grouped Llama take another route."""

    def force(**changes):
        changed = replace(route_of(grouped), **changes)
        monkeypatch.setitem(routes._routes, grouped, changed)
        return changed

    return force


def test_a_llama_takes_the_fastest_route(subject):
    """Every kind of Llama is swept by suffixes, with a tail, and its MLP is found to add to the residual."""
    route = route_of(subject)
    assert (route.name, route.tail, route.adds_mlp, route.causal, route.why) == (
        "suffix",
        True,
        True,
        True,
        "",
    )


def test_patching_at_each_position_equals_the_naive_loop(grouped):
    """A grid of layers x positions is what one whole forward a cell gives, for prompts of several lengths."""
    check_each_position(grouped, RESIDUAL)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [RESIDUAL, PARTS], ids=["residual", "parts"])
def test_patching_every_kind_of_llama_equals_the_naive_loop(subject, kinds):
    """So it is for full, grouped and single key heads, and for the parts of a block."""
    check_each_position(subject, kinds)


def check_each_position(subject, kinds):
    sites, sources = naive.sites_of(subject, *kinds), {"donor": Donors(DONORS)}
    result = swept(subject, sites, sources)
    assert result.route == "suffix"
    assert naive.worst(subject, result, TARGETS, sources) <= naive.tolerance(subject, TARGETS)


@pytest.mark.parametrize("positions", slow_except(["last", "all", [0, -1, 3, -9]], "last", "all"))
def test_other_positions_and_sources_equal_the_naive_loop(grouped, positions):
    """Last, all and listed positions, patched, zeroed and replaced by means, several sources in one sweep."""
    sites = naive.sites_of(grouped, *PARTS, "resid_post")
    sources = {"donor": Donors(DONORS), "zero": Zero(), "mean": naive.means(sites, grouped, DONORS)}
    result = swept(grouped, sites, sources, positions=positions)
    assert naive.worst(grouped, result, TARGETS, sources) <= naive.tolerance(grouped, TARGETS)


def test_single_heads_and_steps_of_attention_equal_the_naive_loop(grouped):
    """One head at a time, and queries, keys, values, scores and patterns."""
    heads = ["head_out.0.1", "head_out.3.3", "pattern.2.1", "queries.3.0", "keys.3.1", "values.2.0"]
    sites = [naive.resolve(site, grouped.anatomy) for site in heads] + naive.sites_of(grouped, *STEPS)
    sources = {"donor": Donors(DONORS), "zero": Zero()}
    result = swept(grouped, sites, sources, positions=[2, -1])
    assert naive.worst(grouped, result, TARGETS, sources) <= naive.tolerance(grouped, TARGETS)


def test_embedding_and_logits_take_whole_forwards(grouped):
    """Sites outside the blocks are swept beside the others, and say that they took whole forwards."""
    sites, sources = (
        [naive.Site("embed"), naive.Site("logits"), naive.Site("resid_pre", 1)],
        {"donor": Donors(DONORS)},
    )
    result = swept(grouped, sites, sources, positions=[1, -1])
    assert result.routes == ("full", "full", "suffix")
    assert naive.worst(grouped, result, TARGETS, sources) <= naive.tolerance(grouped, TARGETS)


@pytest.mark.parametrize(
    "changes",
    [
        {"tail": False},
        {"adds_mlp": False},
        {"name": "layers", "tail": False},
        {"name": "full", "tail": False},
    ],
    ids=["no tail", "MLP inside", "layers", "full"],
)
def test_every_route_equals_the_naive_loop(grouped, by_route, changes):
    """What slower routes give is the same."""
    route = by_route(**changes)
    sites = naive.sites_of(grouped, "resid_pre", "resid_post", "attn_out", "mlp_out")
    sources = {"donor": Donors(DONORS), "zero": Zero()}
    result = swept(grouped, sites, sources, positions=[2, -1])
    assert result.route == route.name
    assert naive.worst(grouped, result, TARGETS, sources) <= naive.tolerance(grouped, TARGETS)


def test_a_wrong_shortcut_is_found_out(grouped, monkeypatch):
    """If a route's arithmetic were wrong for a model, another route is taken and the reason is given."""
    right = routes.run_branch

    def wrong(anatomy, base, group, *, own, tail):
        found, caches = right(anatomy, base, group, own=own, tail=tail)
        return (found + 1e-3 if own else found), caches

    monkeypatch.setattr(routes, "run_branch", wrong)
    fresh = Subject.from_model(grouped.model, grouped.tokenizer)
    route = route_of(fresh)
    assert route.name == "layers"
    assert "suffix: logits differ by" in route.why


def test_a_sliding_window_equals_the_naive_loop(make_llama, tokenizer):
    """Where some layers see a window only, prompts longer than it are swept right."""
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    subject = Subject.from_model(make_llama(layer_types=kinds, sliding_window=4), tokenizer)
    sites, sources = naive.sites_of(subject, "resid_post", "attn_out"), {"donor": Donors(DONORS)}
    result = swept(subject, sites, sources)
    assert result.route == "suffix"
    assert naive.worst(subject, result, TARGETS, sources) <= naive.tolerance(subject, TARGETS)


@pytest.mark.slow
def test_the_organism_equals_the_naive_loop():
    """A trained model's patching grid is what one whole forward a cell gives."""
    subject = Subject.load("organism")
    targets, donors = ["12 * 7 = "], ["13 * 8 = "]
    sites, sources = naive.sites_of(subject, "resid_post"), {"donor": Donors(donors)}
    result = sweep(subject, targets, sites, sources=sources, metrics=naive.METRICS)
    assert naive.worst(subject, result, targets, sources) <= naive.tolerance(subject, targets)


def test_patching_with_itself_changes_nothing(grouped):
    """The null: with donors equal to their targets every cell is exactly the baseline, and nothing is computed."""
    result = sweep(
        grouped,
        TARGETS,
        naive.sites_of(grouped, "resid_post", "attn_out"),
        sources={"self": Donors(TARGETS)},
        metrics=[logit_diff(5, 6), kl()],
    )
    known = ~np.isnan(result.values["kl"])
    assert (result.values["kl"][known] == 0).all()
    same = np.broadcast_to(result.baseline["logit_diff"][:, None, None, None], known.shape)
    assert (result.values["logit_diff"][known] == same[known]).all()


def test_cells_that_cannot_matter_are_not_computed(grouped, monkeypatch):
    """Positions before the first that differs, and the last block before the last position, cost no row."""
    rows = []
    run = batch.run_branch

    def counted(anatomy, base, group, **options):
        rows.append(len(group.jobs))
        return run(anatomy, base, group, **options)

    monkeypatch.setattr(batch, "run_branch", counted)
    target, donor = [3, 4, 5, 6, 7, 8], [3, 4, 9, 6, 7, 8]
    sites = naive.sites_of(grouped, "resid_post")
    sweep(grouped, [target], sites, sources={"donor": Donors([donor])}, metrics=[kl()])
    assert sum(rows) == 3 * 4 + 1  # positions 2 to 5 below the last block, and the last position there


def test_metrics_are_those_of_the_whole_forward(grouped):
    """Logit difference, probability, KL and rank of a cell, from the naive logits in float64."""
    first, second = [5, 6, 7, 8], [9, 10, 11, 12]
    result = sweep(
        grouped,
        TARGETS,
        ["resid_post.1"],
        sources={"donor": Donors(DONORS)},
        metrics=[logit_diff(first, second), probability("a"), rank("a"), kl()],
        positions="last",
    )
    for number, target in enumerate(TARGETS):
        length = len(naive.ids_of(grouped, target))
        edit = naive.edit_of(grouped, Donors(DONORS), number, result.sites[0], "last", length)
        clean, patched = (naive.logits(grouped, target, one).astype(float) for one in (None, edit))
        before, after = (np.exp(one - one.max()) / np.exp(one - one.max()).sum() for one in (clean, patched))
        token = grouped.single_token("a")
        wanted = {
            "logit_diff": patched[first[number]] - patched[second[number]],
            "probability": after[token],
            "kl": (before * np.log(before / after)).sum(),
        }
        for name, value in wanted.items():
            assert result.values[name][number, 0, 0, 0] == pytest.approx(value, rel=1e-4, abs=1e-6)
        ranks = possible_ranks(patched, token, of_logits(grouped, patched))
        assert result.values["rank"][number, 0, 0, 0] + 1 in ranks
        donor = naive.logits(grouped, DONORS[number]).astype(float)
        assert result.baseline["logit_diff"][number] == pytest.approx(
            clean[first[number]] - clean[second[number]], rel=1e-4, abs=1e-5
        )
        assert result.donors["logit_diff"][number, 0] == pytest.approx(
            donor[first[number]] - donor[second[number]], rel=1e-4, abs=1e-5
        )


def test_resampled_values_are_rows_of_the_reference(grouped):
    """Each cell takes one of the rows given, which one depends on the seed and not on the batching."""
    site = naive.resolve("mlp_out.1", grouped.anatomy)
    rows = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    options = {"metrics": naive.METRICS, "positions": "last"}

    def run(seed, targets=TARGETS, **more):
        source = {"resample": Resample({site: rows}, seed)}
        return sweep(grouped, targets, [site], sources=source, **options, **more)

    found = run(0)
    names = [metric.name for metric in naive.METRICS]
    for number, target in enumerate(TARGETS):
        got = np.array([found.values[name][number, 0, 0, 0] for name in names])
        edits = [
            naive.Intervention(site, lambda old, row=row: 0 * old + naive.mx.array(row), -1) for row in rows
        ]
        wanted = [naive.logits(grouped, target, edit)[list(naive.LOGITS)] for edit in edits]
        assert min(np.abs(got - one).max() for one in wanted) <= 1e-4
    assert (run(0).values[names[0]] == found.values[names[0]]).all()
    assert any((run(seed).values[names[0]] != found.values[names[0]]).any() for seed in (1, 2, 3))


def test_cells_of_a_screen_are_those_asked_for(grouped):
    """With `cells`, those cells have the values of the whole grid and the others are NaN."""
    sites, sources = naive.sites_of(grouped, "resid_post"), {"donor": Donors(DONORS)}
    whole = swept(grouped, sites, sources)
    some = sweep(
        grouped,
        TARGETS,
        sources=sources,
        metrics=naive.METRICS,
        cells=[Cell("resid_post.1", 2), ("resid_post.-1", 4)],
    )
    name = naive.METRICS[0].name
    for site, position in (("resid_post.1", 2), ("resid_post.3", 4)):
        cell = {"site": site, "position": position}
        np.testing.assert_allclose(some.at(name, **cell), whole.at(name, **cell), rtol=1e-5, atol=1e-6)
    assert np.isnan(some.at(name, site="resid_post.1", position=4)).all()


def test_nothing_of_the_sweep_stays_on_the_model(grouped):
    """Classes, parameters and logits of the model are after a sweep what they were, also if it failed inside."""
    before = naive.logits(grouped, TARGETS[0])
    kinds = [type(module) for module in grouped.model.modules()]
    bad = naive.Metric("bad", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        sweep(grouped, TARGETS, ["attn_out.1"], sources={"zero": Zero()}, metrics=[bad])
    assert [type(module) for module in grouped.model.modules()] == kinds
    assert (naive.logits(grouped, TARGETS[0]) == before).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": ["resid_pst.1"]}, "did you mean"),
        ({"sites": []}, "no sites to sweep"),
        ({"sources": {}}, "no sources to sweep"),
        ({"metrics": []}, "no metrics"),
        ({"metrics": [kl(), kl()]}, "named 'kl'"),
        ({"metrics": [probability(99)]}, "token 99 is outside the vocabulary, 0 to 63"),
        ({"metrics": [probability([1, 2])]}, "2 tokens for 4 prompts"),
        ({"metrics": [probability("ab")]}, "not one token"),
        ({"positions": "first"}, "'first' is unknown"),
        ({"positions": []}, "positions is empty"),
        ({"positions": [1, 1]}, "given twice"),
        ({"cells": []}, "cells is empty"),
        ({"memory": "2 pounds"}, "is not an amount"),
        ({"sources": {"d": Donors(DONORS[:2])}}, "2 donors for 4 targets"),
        (
            {"sources": {"d": Donors([*DONORS[:3], [1, 2]])}},
            "pair 3 of source 'd': the donor has 2 tokens",
        ),
        ({"sources": {"m": Mean({"resid_post.0": np.zeros(32)})}}, "no value for resid_post.1"),
    ],
)
def test_what_cannot_be_swept_is_refused_by_name(grouped, changes, message):
    """An error names the thing, the value and what would be right."""
    options = {"sites": ["resid_post.1"], "sources": {"zero": Zero()}, "metrics": [kl()], **changes}
    with pytest.raises(ValueError, match=message):
        sweep(grouped, TARGETS, options.pop("sites"), **options)


@pytest.mark.parametrize(
    ("site", "positions", "message"),
    [
        ("resid_post.9", "last", "layers 0 to 3"),
        ("head_out.0.7", "last", "heads 0 to 3"),
        ("resid_post.0", [40], "40"),
    ],
)
def test_a_layer_head_or_position_that_does_not_exist_is_an_index_error(grouped, site, positions, message):
    """Numbers out of range are refused with the range."""
    with pytest.raises(IndexError, match=message):
        sweep(grouped, TARGETS, [site], sources={"zero": Zero()}, metrics=[kl()], positions=positions)


def test_stop_strings_need_a_tokenizer(grouped):
    """A subject without a tokenizer cannot look for text."""
    bare = Subject.from_model(grouped.model)
    with pytest.raises(ValueError, match="no tokenizer to find stop strings"):
        sweep(bare, [[1, 2]], ["mlp_out.0"], sources={"zero": Zero()}, metrics=[answer(2, stop=".")])
