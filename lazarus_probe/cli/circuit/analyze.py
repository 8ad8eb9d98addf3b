"""`circuit analyze`: the geometry of collected activations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson, Output, Seed, SeveralLayers
from lazarus_probe.cli.output import deliver, title
from lazarus_probe.cli.parsing import check_output, layer_of, parse_layers

if TYPE_CHECKING:
    from lazarus_probe.circuit.activations import Collected
    from lazarus_probe.circuit.geometry import Geometry, Probed

Activations = Annotated[
    Path, typer.Option("--activations", help="The safetensors file written by `circuit collect`.")
]
Layer = Annotated[int | None, typer.Option("--layer", help="One layer, counted from 0; -1 is the last.")]


def analyze(
    activations: Activations,
    layer: Layer = None,
    layers: SeveralLayers = None,
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
    geometry = analyse(collected, chosen(collected, layer, layers), umap=umap, seed=seed)
    data = geometry.as_data() | {"about": about_file(collected, seed)}
    deliver(data, as_text(geometry, collected), as_json=as_json, output=output)


def chosen(collected: Collected, layer: int | None, layers: str | None = None) -> Sequence[int] | None:
    """The layers of `--layer` or `--layers`; None for all.

    Raises:
        ValueError: both were given, or one that the model does not have.
    """
    if layer is not None and layers is not None:
        raise ValueError("--layer and --layers were both given; give one of the two")
    if layer is not None:
        return [layer_of(layer, collected.num_layers)]
    if layers is None or layers == "all":
        return None
    return parse_layers(layers, collected.num_layers)


def about_file(collected: Collected, seed: int) -> dict[str, Any]:
    """The provenance of a saved result: model, position, versions, seed."""
    from lazarus_probe.reports.run import environment

    return {
        "model": collected.model_id,
        "fingerprint": collected.fingerprint,
        "at": collected.at,
        "packages": environment().packages,
        "seed": seed,
    }


def as_text(geometry: Geometry, collected: Collected) -> str:
    """The analysis as text."""
    lines = [
        title(f"Circuit geometry: {geometry.model_id}"),
        f"Prompts: {len(collected.prompts.texts)}, position: {collected.at}, width: {collected.hidden_size}",
        "",
        "PCA (standardised activations; shares of the variance):",
        geometry.table.text(gap=1),
    ]
    for probed, name in ((geometry.binary, "Label"), (geometry.category, "Category")):
        lines += ["", *probe_lines(probed, name)]
    for layer, points in geometry.maps.items():
        low, high = points.min(axis=0), points.max(axis=0)
        lines.append(
            f"UMAP L{layer}: {len(points)} points, {low[0]:.1f} to {high[0]:.1f} by {low[1]:.1f} to {high[1]:.1f}"
        )
    return "\n".join(lines)


def probe_lines(probed: Probed, name: str) -> list[str]:
    """A table of probes by layer, and the layers at which they are beyond their controls."""
    if not probed.layers:
        return [f"{name} probe: none; {probed.missing}"]
    best = max(probed.layers.values(), key=lambda probe: probe.accuracy)
    beyond = [f"L{layer}" for layer, probe in probed.layers.items() if probe.beyond_controls]
    return [
        f"{name} probe ({best.classes} classes, {best.n} prompts, {best.groups} templates):",
        probed.table.text(gap=1),
        f"Beyond the controls, corrected for the layers looked at: {', '.join(beyond)}"
        if beyond
        else f"Beyond the controls: no layer (best L{best.layer}: {best.verdict})",
    ]
