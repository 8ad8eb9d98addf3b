"""`circuit directions`: from collected activations to directions that a model can be steered along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.circuit.analyze import Activations, Layer, about_file, chosen
from lazarus_probe.cli.options import AsJson, Seed, SeveralLayers
from lazarus_probe.cli.output import deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import json_text

if TYPE_CHECKING:
    from lazarus_probe.circuit.extraction import Extraction
    from lazarus_probe.introspection.directions.class_direction import Method as DirectionMethod


class Method(StrEnum):
    """How a direction is fitted."""

    DIFF_MEANS = "diff_means"
    LDA = "lda"
    PROBE_WEIGHTS = "probe_weights"

    @property
    def engine(self) -> DirectionMethod:
        """The name of the method in `class_direction`; that of the option is the published one."""
        names: dict[str, DirectionMethod] = {
            "diff_means": "difference_of_means",
            "lda": "lda",
            "probe_weights": "logistic",
        }
        return names[self]


def directions(
    activations: Activations,
    layer: Layer = None,
    layers: SeveralLayers = None,
    method: Annotated[
        Method,
        typer.Option(help="Difference of means, Fisher's linear discriminant, or the weights of a probe."),
    ] = Method.DIFF_MEANS,
    per_tool: Annotated[
        bool,
        typer.Option("--per-tool", help="Also extract a direction for each category of the positive label."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Save to NAME.npz and NAME.json (NAME_TOOL.npz for each tool)."),
    ] = None,
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Extract directions that separate two labels, scored on held-out templates.

    Accuracy and separation (Cohen's d) are measured on held-out templates, and compared with the prompts' words alone
    and with shuffled labels. `lazarus introspect steer -d NAME.npz` uses the best layer.
    """
    file = npz_file(output)
    from lazarus_probe.circuit.activations import read_activations
    from lazarus_probe.circuit.directions import extract, extract_per_category, save

    collected = read_activations(activations)
    wanted = chosen(collected, layer, layers)
    extraction = extract(collected, wanted, method.engine, seed=seed)
    of_tools = extract_per_category(collected, wanted, method.engine, seed=seed) if per_tool else {}
    data = extraction.as_data()
    if per_tool:
        data["per_tool"] = {tool: of_tool.as_data() for tool, of_tool in of_tools.items()}
    data["about"] = about_file(collected, seed)
    text = _text([extraction, *of_tools.values()], method)
    if file is not None:
        files = {file: extraction} | files_of_tools(file, of_tools)
        for path, of_file in files.items():
            save(path, of_file)
        write_whole(file.with_suffix(".json"), json_text(data) + "\n")
        text += f"\nSaved to: {', '.join(map(str, [*files, file.with_suffix('.json')]))}"
    deliver(data, text, as_json=as_json)


def npz_file(output: Path | None) -> Path | None:
    """The npz file of `--output`; its suffix may be left out.

    Raises:
        ValueError: another suffix, or a path that cannot be written to.
    """
    if output is None:
        return None
    if not output.name:
        raise ValueError(f"--output {output} is a folder; give a name in it")
    file = output if output.suffix in (".npz", ".json") else output.with_name(f"{output.name}.npz")
    for suffix in (".npz", ".json"):
        check_output(file.with_suffix(suffix))
    return file.with_suffix(".npz")


def files_of_tools(file: Path, of_tools: Mapping[str, Extraction]) -> dict[Path, Extraction]:
    """By file, the directions of each tool; a tool's name comes from a file, and must not name a path."""
    files: dict[Path, Extraction] = {}
    for number, (tool, extraction) in enumerate(of_tools.items()):
        name = re.sub(r"[^\w-]+", "_", tool)[:40]
        path = file.with_name(f"{file.stem}_{name}.npz")
        files[file.with_name(f"{file.stem}_{name}_{number}.npz") if path in files else path] = extraction
    return files


def _text(extractions: list[Extraction], method: str) -> str:
    lines = [title(f"Directions: {extractions[0].model_id}"), f"Method: {method}"]
    for extraction in extractions:
        best = extraction.best
        supported = [
            f"L{layer}" for layer, direction in extraction.directions.items() if direction.beyond_controls
        ]
        where = ", ".join(supported) or f"no layer (best L{best.layer}: {best.verdict})"
        lines += [
            "",
            f"{extraction.positive} vs {extraction.negative} ({best.n_positive} and {best.n_negative} prompts):",
            extraction.table.text(gap=1),
            f"Separates held-out templates beyond shuffled labels, a constant and the prompts' words: {where}",
        ]
    return "\n".join(lines)
