"""What hooks cost beside the plain forward: building the graph, and capturing everything on the bundled model.

Nothing here is asserted in seconds: read the ratios within a group. `peers.py` prints the same beside other libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from lazarus_probe import Subject, hooked, trace
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.interventions import scale
from lazarus_probe.subject.finite import is_finite, peak

TOKENS = mx.arange(1, 9)[None]


@pytest.fixture(scope="module")
def organism() -> Subject:
    return Subject.load("organism")


def posts(subject: Subject) -> list[str]:
    return [f"resid_post.{layer}" for layer in range(subject.num_layers)]


def everything(subject: Subject) -> list[str]:
    kinds = ("attn_out", "mlp_out", "resid_post")
    return [f"{kind}.{layer}" for layer in range(subject.num_layers) for kind in kinds]


def built(subject: Subject, sites: list[str]) -> None:
    # Without sites there is no context either: the yardstick is a forward that knows of no hooks.
    if not sites:
        forward(subject.model, TOKENS)
        return
    with hooked(subject, sites):
        forward(subject.model, TOKENS)


def captured(subject: Subject, sites: list[str]) -> None:
    if not sites:
        mx.eval(forward(subject.model, TOKENS))
        return
    with hooked(subject, sites) as captures:
        logits = forward(subject.model, TOKENS)
    mx.eval(logits, *captures.values())


SITES: dict[str, Callable[[Subject], list[str]]] = {
    "plain": lambda _: [],
    "residuals": posts,
    "residuals, attention, MLPs": everything,
}


@pytest.mark.parametrize("sites", SITES.values(), ids=SITES.keys())
@pytest.mark.parametrize("run", [built, captured], ids=["built", "captured"])
def test_overhead(
    benchmark: Any, organism: Subject, run: Callable[..., None], sites: Callable[[Subject], list[str]]
):
    """A forward that is watched costs little more than the plain one, and its graph little more to build."""
    benchmark.group = f"{run.__name__}, organism 1x8"
    benchmark(run, organism, sites(organism))


def checked(subject: Subject, tokens: mx.array) -> bool:
    logits = forward(subject.model, tokens)
    largest = peak(logits)
    mx.eval(logits, largest)
    return is_finite(largest)


def unchecked(subject: Subject, tokens: mx.array) -> None:
    mx.eval(forward(subject.model, tokens))


@pytest.mark.parametrize("tokens", [TOKENS, mx.arange(1, 513).reshape(8, 64)], ids=["1x8", "8x64"])
@pytest.mark.parametrize("run", [unchecked, checked])
def test_the_finite_check(benchmark: Any, organism: Subject, run: Callable[..., Any], tokens: mx.array):
    """Looking whether all logits are finite costs a small part of the forward that they come from."""
    benchmark.group = f"finite check, organism {'x'.join(map(str, tokens.shape))}"
    benchmark(run, organism, tokens)


EDITED = {
    "one resid_post": ["resid_post.2"],
    "one pattern": ["pattern.2"],
    "every resid_post": [f"resid_post.{layer}" for layer in range(8)],
}


@pytest.mark.parametrize("sites", EDITED.values(), ids=EDITED.keys())
def test_an_edit(benchmark: Any, organism: Subject, sites: list[str]):
    """A trace with edits, each of which is handed a copy of the value with memory of its own."""
    benchmark.group = "edits, organism 1x8"
    edits = [scale(site, 0.5) for site in sites]
    benchmark(lambda: mx.eval(trace(organism, TOKENS, (), edits).logits))
