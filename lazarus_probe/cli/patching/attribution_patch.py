"""`lazarus introspect attribution-patch`: gradient estimates of a patching grid, and its best cells patched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, ChosenSeed, Layers, Model, Output
from lazarus_probe.cli.output import about, columns, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers, seed_of
from lazarus_probe.cli.patching.pairs import (
    Answer,
    Other,
    Pairs,
    Source,
    Target,
    described,
    estimate,
    pairs_of,
)
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.patching.attribution_patching import AttributionPatch
    from lazarus_probe.subject.subject import Subject

SITES = ("resid_post", "attn_out", "mlp_out", "head_out", "neurons")


def attribution_patch(
    model: Model,
    source: Source = None,
    target: Target = None,
    pairs: Pairs = None,
    adapter: Adapter = None,
    site: Annotated[str, typer.Option(help=f"What to patch: {', '.join(SITES)}.")] = "resid_post",
    layers: Layers = None,
    answer: Answer = None,
    other: Other = None,
    top: Annotated[int, typer.Option(min=1, help="Number of cells to patch exactly.")] = 10,
    check: Annotated[bool, typer.Option("--check", help="Also patch the whole grid exactly.")] = False,
    seed: ChosenSeed = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Estimate the effect of patching every cell from one gradient, and patch the top cells exactly.

    Nanda 2023; Syed et al. 2023 (arXiv:2310.10348). The estimates are first-order: only what the exact patch confirms
    counts. As many cells, drawn at random, are patched for comparison; --check patches all and correlates the two.
    """
    check_output(output)
    if site not in SITES:
        raise ValueError(f"--site {site} is unknown; {one_of(site, SITES)}")
    drawn = seed_of(seed, not check, "with --check, which patches the whole grid")
    given = pairs_of(source, target, pairs, answer, other)
    from lazarus_probe.checkpoints.names import num_layers_of

    wanted = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.patching import attribution_patching
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    found = attribution_patching.attribution_patch(
        subject, given, site, wanted, top=top, check=check, seed=drawn, progress=True
    )
    deliver(
        found.as_data() | {"about": about(subject, None if check else drawn)},
        as_text(subject, found),
        as_json=as_json,
        output=output,
    )


def as_text(subject: Subject, found: AttributionPatch) -> str:
    """The chosen cells with estimate and exact effect, and how well the two agree."""
    data = found.as_data()
    lines = [title(f"ATTRIBUTION PATCHING: {subject.name}")]
    lines.append(described(subject, found.pairs, found.tokens))
    lines.append(f"Target {data['target']:+.3f}, source {data['source']:+.3f}\n")
    rows = [
        (
            str(cell.site),
            _position(subject, found, cell.position),
            f"{cell.estimate:+.3f}",
            f"{cell.share:.0%}",
            estimate(float(cell.exact.mean), float(cell.exact.low), float(cell.exact.high)),
        )
        for cell in found.cells
    ]
    lines.append(columns([("Site", "Position", "Estimate", "Share", "Exact"), *rows], (16, 16, 10, 7)))
    lines.append("\nShare is of the difference between source and target that the exact patch carries over.")
    if found.others == found.others:
        which = "all other cells" if found.checked else "as many other cells, drawn at random"
        lines.append(f"Mean size of the exact effect of {which}: {found.others:.3f}")
    scope = "the whole grid" if found.checked else "the cells patched"
    if found.correlation == found.correlation:
        lines.append(f"Correlation of estimate and exact patch over {scope}: {found.correlation:.3f}")
    return "\n".join(lines)


def _position(subject: Subject, found: AttributionPatch, position: int) -> str:
    if len(found.pairs) > 1:
        return str(position)
    return f"{position} {subject.decode([found.pairs[0].target.ids[position]])!r}"
