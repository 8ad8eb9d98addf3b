"""`lazarus introspect activation-diff`: how far a training moved the states that prompts lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.geometry.weight_diff import Base, Finetuned, load_both
from lazarus_probe.cli.options import Adapter, AsJson, KeepOutliers, Output, Prompts, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, checked_text, parse_position, parse_prompts

if TYPE_CHECKING:
    from lazarus_probe.introspection.geometry.activation_difference import ActivationDifference


def activation_diff(
    base: Base,
    prompts: Prompts,
    finetuned: Finetuned = None,
    position: Annotated[
        str,
        typer.Option(help="Token position to compare: last, all (their mean), or a number; -1 is the last."),
    ] = "last",
    keep_outliers: KeepOutliers = False,
    adapter: Adapter = None,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Compare the residual streams of a model before and after training, prompt by prompt.

    Shows cosine similarity and relative norm after every layer, and the KL divergence of the next token. For scale:
    the cosine of the base with an untrained model, of two untrained models, and of two prompts in the base. Outlier
    dimensions and positions with massive activations are left out. Commas are part of a prompt; | separates prompts.
    """
    check_output(output)
    texts = [checked_text(prompt, "--prompts") for prompt in parse_prompts(prompts)]
    at = parse_position(position)
    before, after = load_both(base, finetuned, adapter)
    from lazarus_probe.introspection.geometry.activation_difference import activation_difference

    result = activation_difference(before, after, texts, at, seed, keep_outliers=keep_outliers)
    data = result.as_data() | {"about": about(before, seed), "about_finetuned": about(after)}
    deliver(data, _text(result), as_json=as_json, output=output)


def _text(result: ActivationDifference) -> str:
    count = len(result.prompts)
    note = (
        " (commas are part of a prompt; write | between prompts)"
        if count == 1 and "," in result.prompts[0]
        else ""
    )
    lines = [
        title(f"ACTIVATION DIFFERENCE: {result.base} → {result.finetuned}"),
        f"Prompts: {count}{note}",
        f"Position: {result.position}",
        *result.notes(),
        "",
        result.table.text(gap=1, rule=True),
        "",
        f"KL(base || finetuned) of the next token: mean {result.kl.mean():.4f} nats, max {result.kl.max():.4f}",
        "*** divergence (1 - average cosine) above 0.1. For scale, the average cosine of the base with an untrained",
        "model, of two untrained models, and of different prompts in the base.",
    ]
    if count == 1:
        lines.append("n = 1 prompt: there is no interval; give more with | between them.")
    return "\n".join(lines)
