"""`lazarus introspect rank-one-edit`: whether a fact can be written over in one MLP, and what else that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, checked_text, parse_layers
from lazarus_probe.cli.patching.judged_text import judged_lines
from lazarus_probe.cli.patching.spanned import Answer, Part, PromptFile, PromptText, spanned_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.editing.rank_one_edit import RankOneEdit


def rank_one_edit(
    model: Model,
    prompt: PromptText = None,
    part: Part = None,
    prompts: PromptFile = None,
    answer: Answer = None,
    new: Annotated[
        str | None, typer.Option(help="Token that is to follow; in a file of prompts it is `other`.")
    ] = None,
    wording: Annotated[
        list[str] | None,
        typer.Option(help="The fact in other words, with {} for its subject. May be repeated."),
    ] = None,
    neighbour: Annotated[
        list[str] | None,
        typer.Option(
            help="Another subject, whose next token should stay. May be repeated.",
            show_default="other facts' subjects",
        ),
    ] = None,
    layers: Layers = None,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps of a value at most.")] = 16,
    untrained: Annotated[
        int, typer.Option(min=0, help="Untrained models that are edited alike, at least 3; 0 for none.")
    ] = 3,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Give facts another answer by a rank-one change of one MLP at a time, and measure what that changes.

    ROME (Meng et al. 2022, arXiv:2202.05262). Controls: the same change for a random direction of equal norm, and the
    same edit of an untrained model. That an edit works does not show that the fact was stored there (Hase et al. 2023,
    arXiv:2301.04213). The model's weights are not touched. p needs five facts or more, a verdict ten.
    """
    check_output(output)
    prompts_with_parts = spanned_of(prompt, part, prompts, answer, new)
    if lacking := [item.prompt for item in prompts_with_parts if item.other is None]:
        raise ValueError(f"{lacking[0][:60]!r} has no new answer; give --new, or `other` in the file")
    for name, texts in (("--wording", wording or []), ("--neighbour", neighbour or [])):
        for text in texts:
            checked_text(text, name)
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.editing import rank_one_edit as editing
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    result = editing.rank_one_edit(
        subject,
        prompts_with_parts,
        layers=chosen,
        wordings=wording or (),
        neighbours=neighbour or None,
        steps=steps,
        untrained=untrained,
        seed=seed,
    )
    data = {
        "prompts": [item.prompt for item in prompts_with_parts],
        "parts": [item.part for item in prompts_with_parts],
        "new": [item.other for item in prompts_with_parts],
        "wordings": list(wording or ()),
    }
    text = as_text(subject.name, result)
    deliver(data | result.as_data() | {"about": about(subject, seed)}, text, as_json=as_json, output=output)


def as_text(name: str, result: RankOneEdit) -> str:
    """The preference for the new answer by layer with its controls, and the layers at which an edit works."""
    from lazarus_probe.statistics.cell_effects import FEWEST_UNITS

    count, units = len(result.units), len(set(result.units))
    where = "after other wordings" if result.reworded else "after the prompt itself (no --wording)"
    lines = [title(f"RANK-ONE EDIT: {name}"), f"{count} facts, {units} subjects, each edited alone"]
    lines.append(f"Preference for the new answer over the old, {where}: {result.before.mean():.3f} before")
    lines += ["", "With the edit (* p at most .05, beyond a random key):", result.table().text(), ""]
    if units < FEWEST_UNITS:
        lines.append(f"No p with {units} subjects; give at least {FEWEST_UNITS}")
    lines += judged_lines("Works at", result.judged, result.why_unjudged)
    if result.untrained_reach is not None:
        added = float(result.effects.effect.mean.max())
        lines.append(
            f"Most added: {added:.3f}; one more untrained model may reach {result.untrained_reach:.3f}"
        )
    lines.append("An edit that works shows where a fact can be written, not where it was stored")
    if result.keyless:
        silent = ", ".join(f"L{layer}" for layer in result.keyless)
        lines.append(f"Nothing can be written at {silent}: no neuron says anything at a subject")
    if not result.reworded:
        lines.append(
            "Whether an edit is of the fact or of the prompt shows in other wordings; give --wording"
        )
    return "\n".join(lines)
