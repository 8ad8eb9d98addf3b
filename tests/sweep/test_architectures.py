"""Sweeps of tiny models of every architecture in mlx-lm against the naive loop, by whichever route."""

from __future__ import annotations

import sys
from pathlib import Path

import naive
import numpy as np
import pytest

from lazarus_probe import Subject
from lazarus_probe.hooks import Site
from lazarus_probe.hooks.sites import kinds_at
from lazarus_probe.subject import UnsupportedArchitecture
from lazarus_probe.sweep import Donors, Zero, sweep

sys.path.insert(0, str(Path(__file__).parents[1] / "architectures"))
import zoo

# One of each kind that needs something else, where all are too many: windows, experts, latents, sinks, recurrence,
# chunks, streams, shared keys, extra arguments, quantised weights.
SOME = (
    "gemma2",
    "qwen3_moe",
    "deepseek_v3",
    "gpt_oss",
    "mamba2",
    "jamba",
    "llama4",
    "gemma3n",
    "gemma4_text",
    "talkie",
    "ministral3",
    "nemotron-nas",
    "deepseek_v3_4bit",
)


def all_sites(subject: Subject) -> list[Site]:
    """Every kind of site in the middle and at the end, single heads, and the two outside the blocks."""
    layers = (subject.num_layers // 2, subject.num_layers - 1)
    sites = [Site(kind, layer) for layer in layers for kind in kinds_at(subject.anatomy, layer)]
    heads = [Site("head_out", one.layer, 0) for one in sites if one.kind == "head_out"]
    return [*dict.fromkeys([*sites, *heads]), Site("embed"), Site("logits")]


def check(name: str) -> None:
    try:
        subject = Subject.from_model(zoo.build(name))
    except UnsupportedArchitecture:
        pytest.skip("refused by the hooks as well")
    targets, donors = np.split(np.array(zoo.random_tokens(4, 9)), 2)
    sources = {"donor": Donors(donors.tolist()), "zero": Zero()}
    for positions in ([4, -1], "all"):
        options = {"sources": sources, "metrics": naive.METRICS, "positions": positions}
        result = sweep(subject, targets.tolist(), all_sites(subject), **options)
        assert naive.worst(subject, result, targets.tolist(), sources) <= 1e-5, result.route


@pytest.mark.parametrize("name", SOME)
def test_a_sweep_equals_the_naive_loop(name):
    """Every site, patched and zeroed, gives what one whole forward a cell gives."""
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in zoo.architectures() if name not in SOME])
def test_a_sweep_of_any_other_architecture_equals_the_naive_loop(name):
    """The same for all the others."""
    check(name)
