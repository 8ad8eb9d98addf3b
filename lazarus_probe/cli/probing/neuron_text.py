"""The text of `lazarus introspect neurons`: activations, their statistics, and the test of the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.cli.output import title
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.verdict import Verdict
    from lazarus_probe.introspection.probing.neuron_map import NeuronMap

CLAIM = "separating-neuron"
WIDTH = 26


def claim_of(labels: Sequence[str]) -> Claim:
    """The claim `separating-neuron`, with the share of the largest class as its threshold."""
    from lazarus_probe.claims.judging import beyond_largest_class

    return beyond_largest_class(CLAIM, labels)


def verdict_of(result: NeuronMap) -> Verdict | None:
    """Whether a neuron predicts the labels, beyond its controls."""
    from lazarus_probe.claims.verdict import judge

    if result.separation is None or result.separation.measurement is None or result.labels is None:
        return None
    return judge(claim_of(result.labels), result.separation.measurement)


def text_of(result: NeuronMap, verdict: Verdict | None) -> str:
    """The activations and statistics at each layer, and the test of the separations."""
    site = {
        "resid_post": "coordinates of the residual stream after the layer",
        "neurons": "activations of the layer's MLP",
    }[result.site]
    lines = [title("NEURON ACTIVATIONS"), f"Model: {result.model}", f"Neurons: {site}, at the last token"]
    if result.push is not None:
        lines.append(
            f"Steered: {result.push['coefficient']:g} times {result.push['direction']!r} added after layer "
            f"{result.push['layer']}"
        )
    lines += [*result.notes()]
    for layer in result.activations:
        table = result.table(layer)
        rows = [
            [_short(prompt), *cells] for prompt, (_, *cells) in zip(result.prompts, table.rows, strict=True)
        ]
        table = Table([Column("Prompt", width=WIDTH), *table.columns[1:]], rows)
        lines += ["", f"Layer {layer}", "-" * 70, *table.fitted(gap=1)]
        lines += ["(in brackets: without steering)"] if result.unsteered else []
        lines += ["", *result.stats_table(layer).fitted(gap=1)]
    return "\n".join([*lines, *_separation_lines(result, verdict)])


def _short(prompt: str) -> str:
    text = repr(prompt)
    return text if len(text) <= WIDTH else text[: WIDTH - 4] + "...'"


def _separation_lines(result: NeuronMap, verdict: Verdict | None) -> Iterator[str]:
    if result.separation is None:
        return
    from lazarus_probe.statistics.intervals import estimate

    separation = result.separation
    yield ""
    yield (
        f"Separation: difference of two labels' means in pooled sd, n = {len(result.prompts)}. Under shuffled labels "
        f"the best of {separation.searched} reaches {separation.null.mean():.2f} on average; "
        "p is corrected for all of them."
    )
    from lazarus_probe.claims.declared import declared

    if separation.least_p > declared(CLAIM).alpha:
        yield f"With so few prompts p cannot fall below {separation.least_p:.2g}: nothing can be found."
    if separation.matched:
        yield (
            f"{separation.matched} prompts are matched across labels, as they differ in few words: each is kept with "
            "its match on one side of every split."
        )
    if separation.measurement is None:
        yield "A label has one group of prompts only: the search cannot be tested on held-out prompts. No finding."
        return
    held_out = separation.measurement
    yield (
        "Held out: the best neuron among some prompts names the label of others with accuracy "
        f"{estimate(held_out.score, held_out.low, held_out.high)}"
    )
    for control in held_out.controls:
        yield f"  {control.name:<17}{control.score:.3f}  gain {estimate(control.gain, control.low, control.high)}"
    yield f"  p of the best neuron: {held_out.p:.3f}"
    yield f"Verdict: {verdict}"
