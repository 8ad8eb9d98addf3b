"""`lazarus introspect layer`: how similar prompts are at each layer, and which layers separate groups of them."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, KeepOutliers, Model, Output, Prompts, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, checked_text, parse_layers, parse_prompts
from lazarus_probe.cli.watching import watched

if TYPE_CHECKING:
    from lazarus_probe.introspection.geometry.layer_similarity import LayerSimilarity

SHOWN = 8


def layer(
    model: Model,
    prompts: Prompts,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Group of each prompt, separated by commas.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Layers, counted from 0, as in 0,4-7; -1 is the last; or all.", show_default="six layers"
        ),
    ] = None,
    untrained: Annotated[
        int, typer.Option(min=0, help="Number of untrained models to compare groups with: 0, or at least 3.")
    ] = 5,
    keep_outliers: KeepOutliers = False,
    adapter: Adapter = None,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare prompts at each layer, and find the layers that separate groups of them.

    Cosine similarities are between states at the last token, centred on the other prompts and without outlier
    dimensions: raw ones of a trained model are all near 1. A layer distinguishes groups only if their separation,
    within minus between, is larger than with shuffled labels at all layers at once, and than in untrained models of
    the same architecture.
    """
    texts = parse_prompts(prompts)
    groups = None if labels is None else labels_of(labels, len(texts))
    check_output(output)
    chosen = layers_of(model, layers)
    from lazarus_probe.introspection.geometry.layer_similarity import layer_similarity
    from lazarus_probe.subject.subject import Subject

    if len(texts) < 2:
        raise ValueError(
            "--prompts has one prompt, which nothing can be compared with; give two, as in 'one|two'"
        )
    if untrained in (1, 2):
        raise ValueError(f"--untrained {untrained}: too few to estimate their spread; give 0, or at least 3")
    subject = Subject.load(model, adapter)
    with watched("compare") as check:
        result = layer_similarity(
            subject,
            texts,
            groups,
            chosen,
            untrained=untrained,
            keep_outliers=keep_outliers,
            seed=seed,
            check=check,
        )
    data = result.as_data() | {"about": about(subject, seed)}
    deliver(data, _text(result), as_json=as_json, output=output)


def labels_of(text: str, count: int) -> list[str]:
    """The labels of `a,b,a`.

    Raises:
        ValueError: not one per prompt, or an empty one.
    """
    labels = [label.strip() for label in checked_text(text, "--labels").split(",")]
    if "" in labels:
        raise ValueError(
            f"--labels {text!r}: label {labels.index('')} is empty; give one per prompt, as in a,b,a"
        )
    if len(labels) != count:
        raise ValueError(f"--labels has {len(labels)} labels for {count} prompts; give one per prompt")
    return labels


def layers_of(model: str, text: str | None) -> list[int]:
    """The layers of `--layers`; by default six from the first to the last.

    Raises:
        ValueError: as `parse_layers`, or an unknown model.
    """
    from lazarus_probe.checkpoints.names import num_layers_of

    count = num_layers_of(model)
    if text is not None:
        return parse_layers(text, count)
    return sorted({0, count // 8, count // 4, count // 2, 3 * count // 4, count - 1})


def _text(result: LayerSimilarity) -> str:
    width = max(map(len, result.names))
    prompts = [
        f"  {name.ljust(width)}  {prompt!r}"
        for name, prompt in zip(result.names, result.prompts, strict=True)
    ]
    parts = [
        title("Layer representation analysis"),
        "\n".join([f"Prompts ({len(prompts)}):", *prompts]),
        "\n".join(result.notes()),
        *(_layer(result, index) for index in range(len(result.layers))),
    ]
    if reason := result.why_untestable():
        parts.append(f"Whether a layer distinguishes between groups is not shown: {reason}.")
    elif not any(map(result.distinguishes, range(len(result.layers)))):
        parts.append("No layer is shown to distinguish between the groups.")
    return "\n\n".join(parts)


def _layer(result: LayerSimilarity, index: int) -> str:
    lines = [f"--- Layer {result.layers[index]} ---"]
    if len(result.prompts) <= SHOWN:
        lines.append(indent(result.table(index).text(gap=1), "  "))
    if result.labels is None:
        return "\n".join(lines)
    means = result.clusters[index]
    lines += [f"  Within {name}: {_number(value)}" for name, value in means.within.items()]
    lines += [f"  Between {name}: {_number(value)}" for name, value in means.between.items()]
    tested = "" if result.p is None else f"p = {result.p[index]:.3f}"
    if result.measurements is not None:
        control = result.measurements[index].controls[0]
        tested += f", over untrained models {control.gain:+.4f} [{control.low:+.4f}, {control.high:+.4f}]"
    lines.append(f"  Separation: {_number(means.separation)}{f' ({tested})' if tested else ''}")
    if result.distinguishes(index):
        lines.append(f"  Layer {result.layers[index]} DOES distinguish between groups")
    if (verdict := result.verdict(index)) is not None:
        lines.append(f"  Verdict: {verdict}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
