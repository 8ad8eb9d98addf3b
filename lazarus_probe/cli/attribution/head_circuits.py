"""`lazarus introspect head-circuits`: what heads would do by their weights, compared with what they attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.attribution.heads import kind_lines
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.introspection.attribution.head_circuits import HeadCircuits

CLAIM = "head-has-a-circuit"


def head_circuits(
    model: Model,
    adapter: Adapter = None,
    length: Annotated[int, typer.Option(min=4, help="Random tokens in a row.")] = 50,
    rows: Annotated[
        int, typer.Option(min=6, help="Number of rows, the units of intervals and p-values.")
    ] = 8,
    top: Annotated[int, typer.Option(min=1, help="Heads to show of each kind.")] = 5,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Minimum gain over the control for a head to be named.",
            show_default="the threshold of the claim head-has-a-circuit",
        ),
    ] = None,
    untrained: Annotated[int, typer.Option(min=3, help="Number of untrained models to compare with.")] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Score heads by their OV and QK circuits: copying, successor, previous-token, duplicate-token and induction.

    Elhage et al. 2021; Gould et al. 2023 (arXiv:2312.09230). Blocks are given tokens alone, without context; the keys
    of induction are composed with the best previous-token head. A head is named as by `heads`, whose scores from
    patterns are compared with these by a rank correlation over heads.
    """
    check_output(output)
    from lazarus_probe.introspection.attribution import head_circuits as analysis
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    limit = subject.context_length
    if limit is not None and 2 * length + 1 > limit:
        raise ValueError(f"--length {length}: 2 * {length} + 1 tokens do not fit into {limit}; give fewer")
    result = analysis.head_circuits(
        subject, length, rows, threshold=threshold, untrained=untrained, seed=seed, progress=True
    )
    data = result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, result, top), as_json=as_json, output=output)


def as_text(name: str, result: HeadCircuits, top: int) -> str:
    """The best heads of each kind compared with their controls, and what was left out."""
    lines = [title(f"HEAD CIRCUITS, BY WEIGHTS: {name}")]
    lines.append(f"{result.rows} rows of {result.length} random tokens (seed {result.seed}), without context")
    if result.sequences and "successor" not in result.left_out:
        counted = ", ".join(f"{sequence} ({count})" for sequence, count in result.sequences.items())
        lines.append(f"Sequences: {counted}")
    if result.through is not None:
        lines.append("Keys of induction are composed with L{}.H{}".format(*result.through))
    for kind, scores in result.kinds.items():
        lines += ["", *kind_lines(kind, scores, top, result.threshold, CLAIM)]
        if kind in result.agreement:
            lines.append(
                f"  rank correlation with attention in the model's own run: {result.agreement[kind]:.2f}"
            )
    if result.left_out:
        lines += ["", "Not measured:"]
        lines += [f"  {what}: {why}" for what, why in result.left_out.items()]
    return "\n".join(lines)
