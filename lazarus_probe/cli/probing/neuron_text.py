"""The text of `lazarus introspect neurons`: maps of activations, their statistics, and what a search is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.cli.output import columns, title

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
    """The map of each layer, its statistics, and what the separations are worth."""
    what = {
        "resid_post": "coordinates of the residual stream after the layer",
        "neurons": "activations of the layer's MLP",
    }[result.site]
    lines = [title("NEURON ACTIVATIONS"), f"Model: {result.model}", f"Neurons: {what}, at the last token"]
    if result.push is not None:
        lines.append(
            f"Steered: {result.push['coefficient']:g} times {result.push['direction']!r} added after layer "
            f"{result.push['layer']}"
        )
    for layer in result.activations:
        lines += ["", f"Layer {layer}", "-" * 70, *_map(result, layer), "", *_stats(result, layer)]
    return "\n".join([*lines, *_discovery(result, verdict)])


def _map(result: NeuronMap, layer: int) -> Iterator[str]:
    """A row per prompt, a column per neuron; with steering, the value without it in brackets."""
    width = max(10, *(len(name) + 1 for name in result.names))
    width = max(width, 17) if result.unsteered else width
    labels = result.labels or [""] * len(result.prompts)
    rows: list[list[object]] = [["Prompt", *(["Label"] if result.labels else []), *result.names]]
    for row, (prompt, label) in enumerate(zip(result.prompts, labels, strict=True)):
        cells = [f"{value:+.3f}" for value in result.activations[layer][row].tolist()]
        if result.unsteered:
            before = result.unsteered[layer][row].tolist()
            cells = [f"{cell} ({value:+.3f})" for cell, value in zip(cells, before, strict=True)]
        rows.append([_short(prompt), *([label] if result.labels else []), *cells])
    wide = max((len(label) for label in labels), default=0)
    widths = [WIDTH, *([max(wide, 6)] if result.labels else []), *([width] * len(result.names))]
    yield columns(rows, widths)
    if result.unsteered:
        yield "(in brackets: without steering)"


def _short(prompt: str) -> str:
    text = repr(prompt)
    return text if len(text) <= WIDTH else text[: WIDTH - 4] + "...'"


def _stats(result: NeuronMap, layer: int) -> Iterator[str]:
    """Minimum, maximum, mean and spread of each neuron, with its weight and separation where there are."""
    stats = result.stats(layer)
    extra = [name for name in ("weight", "separation", "p") if getattr(stats[0], name) is not None]
    rows: list[list[object]] = [
        [
            "Neuron",
            "Min",
            "Max",
            "Mean",
            "Std",
            *(name if name == "p" else name.capitalize() for name in extra),
        ]
    ]
    for name, each in zip(result.names, stats, strict=True):
        numbers = [each.min_val, each.max_val, each.mean_val]
        more = [each.std_val, *(getattr(each, one) for one in extra)]
        rows.append([name, *(f"{value:+.3f}" for value in numbers), *(f"{value:.3f}" for value in more)])
    yield columns(rows, [max(10, *(len(name) for name in result.names)), *([10] * (len(rows[0]) - 1))])


def _discovery(result: NeuronMap, verdict: Verdict | None) -> Iterator[str]:
    """What the separations are worth."""
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
    if separation.measurement is None:
        yield "A label has one group of prompts only: what was found cannot be tested on others. No finding."
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
