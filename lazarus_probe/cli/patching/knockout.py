"""`lazarus introspect knockout`: in which layers the answer is read from a part of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Layers, Model, Output, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers
from lazarus_probe.cli.patching.spanned import (
    Answer,
    Other,
    Part,
    PromptFile,
    PromptText,
    damage_line,
    described,
    spanned_of,
)
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.patching.attention_cuts import Cut
    from lazarus_probe.introspection.patching.attention_knockout import Knockout

CUTS: tuple[Cut, ...] = ("scores", "pattern")


def knockout(
    model: Model,
    prompt: PromptText = None,
    part: Part = None,
    prompts: PromptFile = None,
    answer: Answer = None,
    other: Other = None,
    reader: Annotated[
        str | None,
        typer.Option(help="A part that may not read the other one.", show_default="the last token"),
    ] = None,
    layers: Layers = None,
    window: Annotated[int, typer.Option(min=1, help="Layers that are blocked together.")] = 1,
    cut: Annotated[
        str, typer.Option(help="scores: masked before the softmax; pattern: weights set to zero after it.")
    ] = "scores",
    controls: Annotated[
        int, typer.Option(min=1, help="Other parts of equal length that are blocked for comparison.")
    ] = 5,
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Block attention from the last token to a part of the prompt, layer by layer, and measure the answer.

    Attention knockout (Geva et al. 2023, arXiv:2304.14767). Controls: other parts of equal length are blocked in turn;
    the same cut is made on unrelated prompts. One prompt shows where it can happen; intervals and p need --prompts.
    """
    check_output(output)
    chosen_cut = next((name for name in CUTS if name == cut), None)
    if chosen_cut is None:
        raise ValueError(f"--cut {cut} is unknown; {one_of(cut, CUTS)}")
    spanned_prompts = spanned_of(prompt, part, prompts, answer, other)
    from lazarus_probe.checkpoints.names import num_layers_of

    chosen = None if layers is None else parse_layers(layers, num_layers_of(model))
    from lazarus_probe.introspection.patching.attention_knockout import attention_knockout
    from lazarus_probe.introspection.patching.spanned_prompts import encode_spans
    from lazarus_probe.subject.spans import span
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    encoded = encode_spans(subject, spanned_prompts)
    readers = None if reader is None else [span(subject, item.prompt, reader) for item in spanned_prompts]
    result = attention_knockout(
        subject,
        encoded.ids,
        encoded.spans,
        encoded.answers,
        encoded.others,
        readers=readers,
        layers=chosen,
        window=window,
        cut=chosen_cut,
        controls=controls,
        units=encoded.units,
        seed=seed,
        progress=True,
    )
    text = as_text(subject.name, described(subject, spanned_prompts, encoded, result.metric), result)
    data = {
        "prompts": [item.prompt for item in spanned_prompts],
        "parts": [item.part for item in spanned_prompts],
    }
    deliver(data | result.as_data() | {"about": about(subject, seed)}, text, as_json=as_json, output=output)


def as_text(name: str, heading: str, result: Knockout) -> str:
    """By window the loss, that of other parts, and what the strongest one does to unrelated prompts."""
    from lazarus_probe.introspection.patching.windows import named_window

    lines = [title(f"ATTENTION KNOCKOUT: {name}"), heading]
    baseline = ", ".join(f"{metric} {values.mean():.3f}" for metric, values in result.baseline.items())
    lines += [f"Unblocked: {baseline}", "", result.table().text(), ""]
    lines.append(f"Strongest: {named_window(result.windows[result.drops.best])}")
    lines.append(damage_line(result.damage))
    if not (result.drops.gain.mean == result.drops.gain.mean).any():
        lines.append("No prompt has another part of equal length: the loss has nothing to be compared with")
    return "\n".join(lines)
