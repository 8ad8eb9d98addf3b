"""`lazarus introspect attribution-patch`: gradient estimates of a patching grid, and its best cells patched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, ChosenSeed, Layers, Model, Output
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers, seed_of
from lazarus_probe.cli.patching.pairs import Answer, Other, Pairs, Source, Target, described, pairs_of
from lazarus_probe.spelling import one_of
from lazarus_probe.tables import Column, Table

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
    prompt_pairs = pairs_of(source, target, pairs, answer, other)
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.patching import attribution_patching
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = attribution_patching.attribution_patch(
        subject, prompt_pairs, site, chosen, top=top, check=check, seed=drawn, progress=True
    )
    data = result.as_data() | {"about": about(subject, None if check else drawn)}
    deliver(data, as_text(subject, result), as_json=as_json, output=output)


def as_text(subject: Subject, result: AttributionPatch) -> str:
    """The chosen cells with estimate and exact effect, and how well the two agree."""
    from lazarus_probe.statistics.student import signed_estimate

    data = result.as_data()
    lines = [title(f"ATTRIBUTION PATCHING: {subject.name}")]
    lines.append(described(subject, result.pairs, result.tokens))
    lines.append(f"Target {data['target']:+.3f}, source {data['source']:+.3f}\n")
    columns = (
        Column("Site", width=16),
        Column("Position", width=16),
        Column("Estimate", "+.3f", 10),
        Column("Share", ".0%", 7),
        Column("Exact"),
    )
    rows = []
    for cell in result.cells:
        position = str(cell.position)
        if len(result.pairs) == 1:
            position += f" {subject.decode([result.pairs[0].target.ids[cell.position]])!r}"
        exact = signed_estimate(*map(float, cell.exact))
        rows.append((str(cell.site), position, cell.estimate, cell.share, exact))
    lines.append(Table(columns, rows).text(gap=1))
    lines.append("\nShare is of the difference between source and target that the exact patch carries over.")
    if result.others == result.others:
        cells = "all other cells" if result.checked else "as many other cells, drawn at random"
        lines.append(f"Mean size of the exact effect of {cells}: {result.others:.3f}")
    scope = "the whole grid" if result.checked else "the cells patched"
    if result.correlation == result.correlation:
        lines.append(f"Correlation of estimate and exact patch over {scope}: {result.correlation:.3f}")
    return "\n".join(lines)
