"""`lazarus introspect layer-edits`: whether blocks can be deleted, or swapped with their neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.attribution.heads import MODELS
from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers, parse_prompts
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.ablation.edited_blocks import LayerEdit
    from lazarus_probe.introspection.ablation.edited_runs import At
    from lazarus_probe.introspection.ablation.layer_edits import LayerEdits

EDITS: tuple[LayerEdit, ...] = ("delete", "swap")
POSITIONS: tuple[At, ...] = ("all", "last")


def layer_edits(
    model: Model,
    edit: Annotated[
        str, typer.Option(help="delete a block; or swap it with the next.", show_default="delete")
    ] = "delete",
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            "--prompt",
            "-p",
            help="Prompts separated by |; or @FILE, one per line or as JSON.",
            show_default="one of every phrasing of the language tasks",
        ),
    ] = None,
    layers: Layers = None,
    count: Annotated[int, typer.Option(min=1, help="Neighbouring blocks to delete together.")] = 1,
    at: Annotated[str, typer.Option(help="Positions to compare predictions at: all or last.")] = "all",
    draws: Annotated[int, typer.Option(min=1, help="Random perturbations of equal norm per edit.")] = 2,
    untrained: Annotated[
        int, typer.Option(min=0, help="Number of untrained models to edit too, at least 3; 0 for none.")
    ] = 0,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Delete blocks, or swap neighbours, and count the predictions kept beyond random perturbations.

    Lad et al. 2024 (arXiv:2406.19384); Gromov et al. 2024 (arXiv:2403.17887). The control moves every state by as much
    as the edit does, in a random direction.
    """
    check_output(output)
    chosen_edit = next((name for name in EDITS if name == edit), None)
    if chosen_edit is None:
        raise ValueError(f"--edit {edit} is unknown; {one_of(edit, EDITS)}")
    position = next((name for name in POSITIONS if name == at), None)
    if position is None:
        raise ValueError(f"--at {at} is unknown; {one_of(at, POSITIONS)}")
    texts = None if prompts is None else parse_prompts(prompts)
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.ablation import layer_edits as analysis
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = analysis.layer_edits(
        subject,
        texts,
        chosen_edit,
        layers=chosen,
        count=count,
        at=position,
        draws=draws,
        untrained=untrained,
        seed=seed,
        progress=True,
    )
    data = result.as_data() | {"about": about(subject, seed)}
    deliver(data, as_text(subject.name, result), as_json=as_json, output=output)


def as_text(name: str, result: LayerEdits) -> str:
    """By edit the predictions kept and the divergence, compared with a random perturbation."""
    from lazarus_probe.introspection.ablation.edited_blocks import named_edit

    where = "all positions" if result.at == "all" else "the last position"
    lines = [title(f"BLOCKS TO {result.edit.upper()}: {name}")]
    lines.append(
        f"{len(result.units)} prompts of {len(set(result.units))} units, at {where} (seed {result.seed})"
    )
    lines.append(
        "Moves: how far, as a share of a state's norm. Kept: most probable tokens that stay. Pushed: after a random "
        f"perturbation of equal norm, {result.draws} draws. KL in nats."
    )
    lines += ["", result.table().text(), ""]
    kept = result.predictions.effect.mean
    lines.append(
        f"Mean kept {kept.mean():.0%}; most {named_edit(result.edit, result.blocks[int(kept.argmax())])} "
        f"{kept.max():.0%}, least {named_edit(result.edit, result.blocks[int(kept.argmin())])} {kept.min():.0%}"
    )
    lines += [
        f"Most kept beyond a perturbation by {MODELS[kind]}: {', '.join(f'{gain:+.3f}' for gain in best)}"
        for kind, best in result.models.items()
    ]
    if not result.models:
        lines.append(
            "Not compared with untrained models, whose blocks may keep more than a perturbation, too: see --untrained"
        )
    return "\n".join(lines)
