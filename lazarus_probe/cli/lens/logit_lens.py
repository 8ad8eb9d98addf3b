"""`lazarus introspect logit-lens`: whether words rank first after a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import EVERY_SPELLING, Adapter, AsJson, Model, Output, Prompts
from lazarus_probe.cli.parsing import check_output, checked_text, layer_of, parse_layers, parse_prompts
from lazarus_probe.tables import Table

if TYPE_CHECKING:
    from lazarus_probe.introspection.lens.targets import TargetLens

WIDE = 6  # prompts that a grid has columns for


def logit_lens(
    model: Model,
    prompts: Prompts,
    layer: Annotated[
        int | None,
        typer.Option("--layer", "-l", help="The layer to report on.", show_default="55% of the depth"),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option("--targets", "-t", help=f"Word to look for; repeatable. {EVERY_SPELLING}"),
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Also show a grid over these layers, as in 0,4-7, or all.")
    ] = None,
    adapter: Adapter = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Check with the logit lens whether words rank first after a layer, at each prompt's last token.

    The residual stream is read with the model's own final norm and unembedding (nostalgebraist, 2020). Counts come
    with Wilson's 95% interval.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    check_output(output)
    texts = parse_prompts(prompts)
    words = [checked_text(word, "--targets") for word in targets or []]
    count = num_layers_of(model)
    chosen = None if layer is None else layer_of(layer, count)
    others = [] if layers is None else parse_layers(layers, count)
    from lazarus_probe.cli.output import about, deliver
    from lazarus_probe.introspection.lens.targets import target_lens
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    lens = target_lens(subject, texts, words, chosen, others)
    text = _text(lens) + (f"\n\n{_grid(lens)}" if layers is not None else "")
    deliver(lens.as_data() | {"about": about(subject)}, text, as_json=as_json, output=output)


def _text(lens: TargetLens) -> str:
    from lazarus_probe.cli.output import title

    depth = lens.layer / lens.num_layers
    head = [
        title(f"LOGIT LENS AFTER L{lens.layer} ({depth:.0%} of {lens.num_layers} layers)"),
        f"Model: {lens.model}",
        "",
    ]
    counts = ["", "Summary"] if lens.targets else []
    for target, spellings in zip(lens.targets, lens.spellings, strict=True):
        count, interval = lens.on_top(target)
        counts.append(
            f"  {target}: {count}/{len(lens.prompts)} prompts have this as top token, 95% {interval}"
        )
        mostly = lens.mostly(target)
        if not spellings:
            counts.append(
                f"    several tokens, all read, each after the ones before; likeliest as {mostly!r}"
            )
        elif list(spellings) != [target]:
            counts.append(f"    counted as {', '.join(map(repr, spellings))}; likeliest as {mostly!r}")
    return "\n".join([*head, lens.table.text(rule=True), *counts])


def _grid(lens: TargetLens) -> str:
    """Layer by layer: each prompt's top token, and on how many prompts each target is on top."""
    rows = []
    more = len(lens.prompts) - WIDE
    left_out = f"; {more} prompts are only in the data" if more > 0 else ""
    for at, layer in enumerate(lens.layers):
        tops = [
            f"{tokens[at]!r} {prob[at]:.2f}"
            for tokens, prob in zip(lens.top_tokens[:WIDE], lens.top_probs, strict=False)
        ]
        counts = [
            f"{target['top']}/{target['n']} mean {target['mean_prob']:.4f}"
            for target in lens.summary(layer).values()
        ]
        rows.append([f"L{layer}", *tops, *counts])
    table = Table(["Layer", *map(repr, lens.prompts[:WIDE]), *lens.targets], rows)
    title = f"Layer by layer: top tokens, and how often each target is one{left_out}"
    return f"{title}\n{table.text(rule=True)}"
