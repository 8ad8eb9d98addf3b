"""`lazarus introspect das`: whether a subspace carries a variable, by interchanges on held-out pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.patching.judged_text import judged_lines
from lazarus_probe.cli.patching.pairs import Pairs, Source, Target, pairs_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.patching.alignment import AlignedSubspace


def das(
    model: Model,
    source: Source = None,
    target: Target = None,
    pairs: Pairs = None,
    layers: Layers = None,
    size: Annotated[int, typer.Option(min=1, help="Dimensions of the subspace.")] = 1,
    position: Annotated[int, typer.Option(help="The token position in both prompts; -1 is the last.")] = -1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search.")] = 60,
    untrained: Annotated[
        int, typer.Option(min=0, help="Untrained models to search alike, at least 3; 0 for none.")
    ] = 3,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Search the subspace whose interchange between two prompts gives the answers that a causal model says.

    Distributed alignment search (Geiger et al. 2023, arXiv:2303.02536): half of the pairs train a rotation, the other
    half tests it. In a file of --pairs, answer is what the target should say once the variable is the source's, and
    other what it says as it is. Controls: the same search with answers exchanged between sources, a random subspace as
    large, the whole state, and the same search in untrained models.
    """
    check_output(output)
    prompt_pairs = pairs_of(source, target, pairs, None, None)
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.patching.aligned_subspace import aligned_subspace
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = aligned_subspace(
        subject,
        prompt_pairs,
        layers=chosen,
        size=size,
        position=position,
        steps=steps,
        untrained=untrained,
        seed=seed,
    )
    data = {"pairs": len(prompt_pairs)} | result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, len(prompt_pairs), result), as_json=as_json, output=output)


def as_text(name: str, count: int, result: AlignedSubspace) -> str:
    """The accuracy of interchanges by layer with its controls, and the layers with an aligned subspace."""
    from lazarus_probe.statistics.cell_effects import FEWEST_UNITS

    held_out, size = len(result.units), result.bases.shape[-1]
    lines = [title(f"ALIGNED SUBSPACE: {name}")]
    lines.append(f"{count} pairs, {held_out} of them held out; {result.options} answers to choose from")
    lines.append(f"Subspace: {size} of {result.bases.shape[1]} dimensions, at position {result.position}")
    lines.append(
        f"Without an interchange the wanted answer follows {result.plain.mean():.0%} of held-out targets"
    )
    lines += [
        "",
        "Wanted answers with the subspace interchanged (* p at most .05, beyond the relabelled model):",
    ]
    lines += [result.table().text(), ""]
    if len(set(result.units)) < FEWEST_UNITS:
        lines.append(
            f"No p with {len(set(result.units))} held-out units; give at least {2 * FEWEST_UNITS} pairs"
        )
    lines += judged_lines("Aligned", result.judged, result.why_unjudged)
    if result.untrained_reach is None:
        lines.append(
            "Not compared with untrained models, in which a search may find something, too: see --untrained"
        )
    else:
        lines.append(f"One more untrained model may reach {result.untrained_reach:.3f} at its best layer")
    lines.append(f"Damage at L{result.best}: {result.damage}")
    return "\n".join(lines)
