"""`circuit analyze`: the geometry of collected activations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson, Layers, Output, Seed
from lazarus_probe.cli.output import columns, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_layers

if TYPE_CHECKING:
    from lazarus_probe.circuit.activations import Collected
    from lazarus_probe.circuit.geometry import Geometry, Probed

Activations = Annotated[
    Path, typer.Option("--activations", "-a", help="The safetensors file written by `circuit collect`.")
]
Layer = Annotated[int | None, typer.Option("--layer", help="One layer, counted from 0; -1 is the last.")]


def analyze(
    activations: Activations,
    layer: Layer = None,
    layers: Layers = None,
    umap: Annotated[
        bool, typer.Option("--umap", help="Also embed the prompts with UMAP (needs lazarus_probe[umap]).")
    ] = False,
    output: Output = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Analyse the geometry of collected activations: PCA, UMAP, and probes with controls.

    PCA runs on standardised activations. Probes for label and category are scored on held-out templates, and compared
    with the majority class, a bag of the prompts' words, and shuffled labels. Without --layer or --layers: every
    layer.
    """
    check_output(output)
    from lazarus_probe.circuit.activations import read_activations
    from lazarus_probe.circuit.geometry import analyse, check_umap

    if umap:
        check_umap()
    collected = read_activations(activations)
    found = analyse(collected, chosen(collected, layer, layers), umap=umap, seed=seed)
    data = found.as_data() | {"about": about_file(collected, seed)}
    deliver(data, as_read(found, collected), as_json=as_json, output=output)


def chosen(collected: Collected, layer: int | None, layers: str | None = None) -> Sequence[int] | None:
    """The layers of `--layer` or `--layers`; None for all.

    Raises:
        ValueError: both were given, or one that the model does not have.
    """
    if layer is not None and layers is not None:
        raise ValueError("--layer and --layers were both given; give one of the two")
    if layer is not None:
        from lazarus_probe.cli.parsing import layer_of

        return [layer_of(layer, collected.num_layers)]
    if layers is None or layers == "all":
        return None
    return parse_layers(layers, collected.num_layers)


def about_file(collected: Collected, seed: int) -> dict[str, Any]:
    """What a saved result says of how it came about."""
    from lazarus_probe.reports.run import environment

    return {
        "model": collected.model_id,
        "fingerprint": collected.fingerprint,
        "at": collected.at,
        "packages": environment().packages,
        "seed": seed,
    }


def as_read(found: Geometry, collected: Collected) -> str:
    """The analysis as text."""
    lines = [title(f"Circuit geometry: {found.model_id}")]
    lines.append(
        f"Prompts: {len(collected.prompts.texts)}, position: {collected.at}, width: {collected.hidden_size}"
    )
    rows = [["layer", "PC 1", "PC 1-10", "dims for 90%", "for 95%"]]
    for layer, each in found.components.items():
        data = each.as_data()
        rows.append(
            [
                f"L{layer}",
                f"{data['variance_1']:.3f}",
                f"{data['variance_10']:.3f}",
                data["dim_90"],
                data["dim_95"],
            ]
        )
    lines += ["", "PCA (standardised activations; shares of the variance):", columns(rows, [6, 7, 8, 13])]
    for probed, name in ((found.binary, "Label"), (found.category, "Category")):
        lines += ["", *probe_lines(probed, name)]
    for layer, points in found.maps.items():
        low, high = points.min(axis=0), points.max(axis=0)
        lines.append(
            f"UMAP L{layer}: {len(points)} points, {low[0]:.1f} to {high[0]:.1f} by {low[1]:.1f} to {high[1]:.1f}"
        )
    return "\n".join(lines)


def probe_lines(probed: Probed, name: str) -> list[str]:
    """A table of probes by layer, and what can be said of them."""
    if not probed.layers:
        return [f"{name} probe: none; {probed.missing}"]
    one = next(iter(probed.layers.values()))
    heads = ["layer", "held out", "interval", "in sample", *(each.name for each in one.controls), "p"]
    rows = [heads]
    for layer, each in probed.layers.items():
        controls = [f"{control.score:.2f}" for control in each.controls]
        interval = f"[{each.low:.2f}, {each.high:.2f}]"
        rows.append(
            [
                f"L{layer}",
                f"{each.accuracy:.2f}",
                interval,
                f"{each.train_accuracy:.2f}",
                *controls,
                f"{each.p:.3f}",
            ]
        )
    widths = [6, 9, 14, 10, *(max(10, len(each.name) + 1) for each in one.controls)]
    about = f"{name} probe ({one.classes} classes, {one.n} prompts, {one.groups} templates):"
    return [about, columns(rows, widths), said_of(probed)]


def said_of(probed: Probed) -> str:
    """In a line, at which layers the probe is beyond its controls."""
    beyond = [f"L{layer}" for layer, each in probed.layers.items() if each.beyond_controls]
    if beyond:
        return f"Beyond the controls, corrected for the layers looked at: {', '.join(beyond)}"
    best = max(probed.layers.values(), key=lambda each: each.accuracy)
    return f"Beyond the controls: no layer (best L{best.layer}: {best.verdict})"
