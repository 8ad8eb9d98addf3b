"""`lazarus introspect layer`: how similar prompts are at each layer, and which layers separate groups of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Prompts, Seed
from lazarus_probe.cli.output import about, columns, deliver, title
from lazarus_probe.cli.parsing import check_output, checked_text, parse_layers, parse_prompts
from lazarus_probe.cli.watching import watched

if TYPE_CHECKING:
    from lazarus_probe.introspection.geometry.layer_similarity import LayerSimilarity

SHOWN = 8


def layer(
    model: Model,
    prompts: Prompts,
    labels: Annotated[
        str | None, typer.Option("--labels", "-l", help="Group of each prompt, separated by commas.")
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
    adapter: Adapter = None,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare prompts at each layer, and find the layers that separate groups of them.

    Cosine similarities are between states at the last token. A layer distinguishes groups only if their separation,
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
        found = layer_similarity(subject, texts, groups, chosen, untrained=untrained, seed=seed, check=check)
    data = found.as_data() | {"about": about(subject, seed)}
    deliver(data, _text(found), as_json=as_json, output=output)


def labels_of(text: str, count: int) -> list[str]:
    """The labels of `a,b,a`.

    Raises:
        ValueError: not one a prompt, or an empty one.
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


def _text(found: LayerSimilarity) -> str:
    names = found.labels or tuple(f"#{i}" for i in range(len(found.prompts)))
    parts = [title("Layer representation analysis"), _prompts(found, names)]
    parts += [_layer(found, i, names) for i in range(len(found.layers))]
    if reason := found.why_untestable():
        parts.append(f"Whether a layer distinguishes between groups is not shown: {reason}.")
    elif not any(map(found.distinguishes, range(len(found.layers)))):
        parts.append("No layer is shown to distinguish between the groups.")
    return "\n\n".join(parts)


def _prompts(found: LayerSimilarity, names: tuple[str, ...]) -> str:
    rows = [(f"  {name}", repr(prompt)) for name, prompt in zip(names, found.prompts, strict=True)]
    return f"Prompts ({len(rows)}):\n" + columns(rows, (max(len(row[0]) for row in rows) + 1,))


def _layer(found: LayerSimilarity, index: int, names: tuple[str, ...]) -> str:
    lines = [f"--- Layer {found.layers[index]} ---"]
    if len(names) <= SHOWN:
        rows = [
            [f"  {name[:12]}", *(f"{value:.4f}" for value in row)]
            for name, row in zip(names, found.matrices[index], strict=True)
        ]
        lines.append(columns([["", *(name[:8] for name in names)], *rows], (15, *[9] * len(names))))
    if found.labels is None:
        return "\n".join(lines)
    of = found.clusters[index]
    lines += [f"  Within {name}: {_shown(value)}" for name, value in of.within.items()]
    lines += [f"  Between {name}: {_shown(value)}" for name, value in of.between.items()]
    lines.append(f"  Separation: {_shown(of.separation)}{_tested(found, index)}")
    if found.distinguishes(index):
        lines.append(f"  Layer {found.layers[index]} DOES distinguish between groups")
    if (verdict := found.verdict(index)) is not None:
        lines.append(f"  Verdict: {verdict}")
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _tested(found: LayerSimilarity, index: int) -> str:
    """What is known of a layer's separation: p, and the gain over untrained models."""
    if found.p is None:
        return ""
    gain = ""
    if found.measurements is not None:
        control, *_ = found.measurements[index].controls
        gain = f", over untrained models {control.gain:+.4f} [{control.low:+.4f}, {control.high:+.4f}]"
    return f" (p = {found.p[index]:.3f}{gain})"
