"""Sweeps of tiny models of every architecture in mlx-lm against the naive loop, by whichever route.

Two files of tests share them, so that two workers do. Every time, one target of each pair of features (a mixture of
experts with a window, tied embeddings with a softcap) is swept at two positions and the sites of one layer; with the
slow tests two targets of every architecture and every quantised variant, at all positions and the sites of two layers.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import naive
import numpy as np
import pytest

from lazarus_probe import Subject
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.sites import Site
from lazarus_probe.subject import NotFinite, UnsupportedArchitecture
from lazarus_probe.sweep import Donors, Zero, sweep
from tests.architectures import zoo

# Quantised variants that are swept every time: a dense model and a mixture of experts.
QUANTISED = ("llama_4bit", "deepseek_v3_4bit")
# Streams are divided by their size there: of one that is zero the model's own logits are not finite.
DIVIDED_BY_SIZE = {"gemma3n"}
MIXED = {"moe", "ssm", "linear_attention", "convolution"}


def all_sites(subject: Subject) -> list[Site]:
    """Every kind of site in the middle and at the end, single heads, and the two outside the blocks."""
    layers = (subject.num_layers // 2, subject.num_layers - 1)
    sites = [Site(kind, layer) for layer in layers for kind in kinds_at(subject.anatomy, layer)]
    heads = [Site("head_out", one.layer, 0) for one in sites if one.kind == "head_out"]
    return [*dict.fromkeys([*sites, *heads]), Site("embed"), Site("logits")]


def few_sites(subject: Subject) -> list[Site]:
    """Every kind of site in the middle, the stream at the end, and what is outside the blocks."""
    layer = subject.num_layers // 2
    end = Site("resid_post", subject.num_layers - 1)
    return [site for site in all_sites(subject) if site.layer in (layer, None) or site == end]


def is_mixed(name: str) -> bool:
    """Whether a model has experts, recurrent blocks or convolutions: half of them, by what a sweep of each takes."""
    return bool(MIXED & set(zoo.features(name)))


def names(*, mixed: bool) -> list[str]:
    """The architectures of one half."""
    return [name for name in zoo.architectures() if is_mixed(name) == mixed]


def fast(names: list[str]) -> list[str]:
    """Those that are swept every time."""
    return [name for name in names if name in _of_every_pair()]


@cache
def _of_every_pair() -> frozenset[str]:
    """Architectures that bring a feature, or two together, that none before them in the table brings.

    Among them are all of the ways in which `route_of` tells models to be swept; it is itself a test of each model that
    it is asked about. The hooks of every architecture are held against whole forwards in tests/architectures.
    """
    seen, chosen = set[tuple[str, ...]](), set[str]()
    for name in zoo.architectures():
        features = sorted(zoo.features(name))
        new = {*combinations(features, 1), *combinations(features, 2)} - seen
        if name in QUANTISED or (new and not name.endswith(("_4bit", "_8bit"))):
            chosen.add(name)
            seen |= new
    return frozenset(chosen)


def check(name: str, *, whole: bool) -> None:
    """Sweep every site, patched and zeroed, and hold each cell against a whole forward.

    The tolerance is that of the depth, or more where roundings of the weights are measured to move the logits more.
    """
    try:
        subject = Subject.from_model(zoo.build(name))
    except UnsupportedArchitecture:
        pytest.skip("refused by the hooks as well")
    tokens = np.array(zoo.random_tokens(4 if whole else 2, 9))
    targets, donors = (half.tolist() for half in np.split(tokens, 2))
    sources: dict[str, Any] = {"donor": Donors(donors), "zero": Zero()}
    sites = all_sites(subject) if whole else few_sites(subject)
    if name in DIVIDED_BY_SIZE:
        with pytest.raises(NotFinite, match="not finite under source 'zero' at embed, position 4"):
            run(subject, targets, [Site("embed")], {"zero": sources.pop("zero")}, [4])
    swept = ([4, -1], "all") if whole else ([4, -1],)
    results = [run(subject, targets, sites, sources, positions) for positions in swept]
    furthest = naive.worst_by_site(subject, results, targets, sources, alone=whole)
    tolerance = naive.tolerance(subject, targets)
    if furthest > tolerance:
        tolerance = max(tolerance, naive.tolerance_of_cells(subject, results, targets, sources))
    assert furthest <= tolerance, [result.route for result in results]


def run(subject: Subject, targets: Any, sites: Any, sources: Any, positions: Any) -> Any:
    """A sweep with the metrics of the naive loop."""
    return sweep(subject, targets, sites, sources=sources, metrics=naive.METRICS, positions=positions)
