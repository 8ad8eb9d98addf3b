"""`lazarus introspect residual-stream`: how norms grow by layer, and how alike states of unrelated tokens are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.attribution.heads import MODELS
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.introspection.geometry.residual_stream import ResidualStream


def residual_stream(
    model: Model,
    adapter: Adapter = None,
    length: Annotated[int, typer.Option(min=2, help="Random tokens in a row.")] = 48,
    rows: Annotated[int, typer.Option(min=4, help="Number of rows, the units of intervals.")] = 16,
    drop: Annotated[int, typer.Option(min=0, help="First tokens of every row to leave out.")] = 4,
    untrained: Annotated[int, typer.Option(min=3, help="Number of untrained models to compare with.")] = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Measure how norms grow by layer, and cosines of random tokens: raw, centred, without outlier dimensions.

    Heimersheim & Turner 2023; Ethayarajh 2019 (arXiv:1909.00512). Norms are medians over tokens; the first ones
    are reported separately. Untrained and lesioned models are measured on the same tokens.
    """
    check_output(output)
    from lazarus_probe.introspection.geometry import residual_stream as analysis
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = analysis.residual_stream(
        subject, length, rows, drop=drop, untrained=untrained, seed=seed, progress=True
    )
    data = result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, result), as_json=as_json, output=output)


def as_text(name: str, result: ResidualStream) -> str:
    """Growth a layer, norms and cosines by layer, and what control models do."""
    import numpy as np

    lines = [title(f"RESIDUAL STREAM: {name}")]
    lines.append(
        f"{result.rows} rows of {result.tokens} random tokens (seed {result.seed}), {result.dropped} dropped"
    )
    lines += ["", result.table().text(), ""]
    lines.append("Growth a layer, median norm:  {:.3f} [{:.3f}, {:.3f}]".format(*result.growth))
    lines.append(f"  median ratio of neighbours  {np.median(result.ratios):.3f}")
    lines.append("  mean norm over all tokens   {:.3f} [{:.3f}, {:.3f}]".format(*result.growth_of_means))
    for kind, pairs in result.models.items():
        growth, cosines = (", ".join(f"{pair[which]:.3f}" for pair in pairs) for which in (0, 1))
        lines.append(f"  {MODELS[kind]}: {growth}; raw cosine after the last block {cosines}")
    return "\n".join(lines)
