"""`lazarus introspect sinks`: attention sinks and massive activations, and what becomes of them under edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.attribution.heads import MODELS
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.introspection.geometry.sinks import AttentionSinks
    from lazarus_probe.statistics.student import Estimate


def sinks(
    model: Model,
    adapter: Adapter = None,
    length: Annotated[int, typer.Option(min=8, help="Random tokens in a row.")] = 48,
    rows: Annotated[int, typer.Option(min=2, help="Number of rows, the units of intervals.")] = 8,
    untrained: Annotated[int, typer.Option(min=3, help="Number of untrained models to compare with.")] = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Measure attention sinks and massive activations on random tokens, and edit them.

    Xiao et al. 2023 (arXiv:2309.17453); Sun et al. 2024 (arXiv:2402.17762). The first token is taken away or replaced;
    massive activations are set to zero, to their mean, and as many others are, with the damage to unrelated prompts.
    """
    check_output(output)
    from lazarus_probe.introspection.geometry.sinks import attention_sinks
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = attention_sinks(subject, length, rows, untrained=untrained, seed=seed, progress=True)
    data = result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, result), as_json=as_json, output=output)


def as_text(name: str, result: AttentionSinks) -> str:
    """Shares of heads by condition, the largest activations, and what edits of them do."""
    from lazarus_probe.hooks.outliers import SINK

    lines = [title(f"ATTENTION SINKS AND MASSIVE ACTIVATIONS: {name}")]
    begins = "begins" if result.begins else "does not begin"
    lines.append(f"{result.rows} rows of {result.tokens} random tokens (seed {result.seed})")
    lines.append(f"The tokenizer {begins} a text with a beginning-of-sequence token")
    lines += [
        "",
        f"Share of heads that give the first token more than {SINK:g} of their attention, on average:",
    ]
    width = max(map(len, [*result.conditions, "first token moved"]))
    for condition, of in result.conditions.items():
        lines.append(f"  {condition:<{width}}  {_share(of.share)}")
    lines.append(f"  {'first token moved':<{width}}  {_share(result.moved.share)}, where it now stands")
    lines.append(f"  a head that attends evenly gives it {result.even:.3f}")
    for kind, pairs in result.models.items():
        shares, ratios = (
            ", ".join(f"{pair[0]:.2f}" for pair in pairs),
            ", ".join(f"{pair[1]:,.0f}" for pair in pairs),
        )
        lines.append(f"  {MODELS[kind]}: {shares}; largest activation over the median {ratios}")
    dimension, position, layer, share = result.place
    lines += [
        "",
        f"Largest activation: {result.largest[layer]:,.1f} after L{layer}, median {result.medians[layer]:.3g}",
    ]
    lines.append(f"  dimension {dimension} of token {position}, in {share:.0%} of the rows")
    lines.append(f"  largest ratio to the median after any block: {result.ratio:,.0f}")
    if result.massive is not None:
        values = ", ".join(
            f"{value:,.0f} at dimension {number}"
            for number, value in zip(result.massive.dimensions, result.massive.values, strict=True)
        )
        lines.append(
            f"  massive from L{result.massive.layer} on, at token {result.massive.position}: {values}"
        )
        lines += ["", f"Edits of token {result.massive.position} after L{result.massive.layer}:"]
        width = max(map(len, result.edits))
        for edit, outcome in result.edits.items():
            harm = "not measured, without a tokenizer" if outcome.damage is None else str(outcome.damage)
            lines.append(f"  {edit:<{width}}  sinks {_share(outcome.share)}; {harm}")
    lines += [f"Not measured: {what}, for {why}" for what, why in result.left_out.items()]
    return "\n".join(lines)


def _share(share: Estimate) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*share)
