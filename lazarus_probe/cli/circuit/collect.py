"""`circuit collect`: activations of a set of prompts, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import Adapter, AsJson, Model
from lazarus_probe.cli.output import deliver
from lazarus_probe.cli.parsing import check_output, parse_layers

if TYPE_CHECKING:
    from lazarus_probe.hooks.activations import At


def collect(
    model: Model,
    dataset: Annotated[
        Path, typer.Option("--dataset", help="Prompts: JSON, or a text file with one per line.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The safetensors file to write; a .json file goes next to it."),
    ],
    layers: Annotated[
        str,
        typer.Option(
            "--layers",
            "--layer",
            "-l",
            help="Layers, as in 0,2-5; all; or decision: those from 1/2 to 3/4 of the depth.",
        ),
    ] = "all",
    at: Annotated[
        str, typer.Option(help="Token position: last, mean, or a number (-1 is the last).")
    ] = "last",
    attention: Annotated[
        bool,
        typer.Option("--attention", help="Also keep attention outputs, MLP outputs and attention patterns."),
    ] = False,
    generate: Annotated[
        int, typer.Option(min=0, help="Also keep this many tokens of the model's own continuation.")
    ] = 0,
    adapter: Adapter = None,
    as_json: AsJson = False,
) -> None:
    """Collect the residual stream after each layer, one vector per prompt."""
    position, file = parse_at(at), output_file(output)
    from lazarus_probe.checkpoints.names import num_layers_of
    from lazarus_probe.circuit.dataset import read_prompts

    if attention and position == "mean":
        raise ValueError("--attention works at one position: give --at last or a number, not mean")
    prompts = read_prompts(dataset)
    count = num_layers_of(model)
    from rich.console import Console

    from lazarus_probe.circuit.collect import collect_residuals, decision_layers

    captured = decision_layers(count) if layers == "decision" else parse_layers(layers, count)
    from lazarus_probe.subject.subject import Subject

    with Console(stderr=True).status(f"collecting {len(prompts.texts)} prompts"):
        collect_residuals(
            Subject.load(model, adapter),
            prompts,
            file,
            captured,
            position,
            attention=attention,
            generate=generate,
        )
    data = {
        "output": str(file),
        "description": str(file.with_suffix(".json")),
        "num_samples": len(prompts.texts),
        "captured_layers": captured,
    }
    text = f"written: {file}, {file.with_suffix('.json').name} ({len(prompts.texts)} prompts)"
    deliver(data, text, as_json=as_json)


def parse_at(text: str) -> At:
    """The position of `--at`.

    Raises:
        ValueError: it is neither `last` nor `mean` nor a whole number.
    """
    named: dict[str, At] = {"last": "last", "mean": "mean"}
    if text in named:
        return named[text]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--at {text} is unknown; give last, mean or a number") from None


def output_file(path: Path) -> Path:
    """The safetensors file of `--output`; its suffix may be left out.

    Raises:
        ValueError: another suffix, or a path that cannot be written to.
    """
    if not path.name:
        raise ValueError(f"--output {path} is a folder; give a name in it")
    if path.suffix not in ("", ".safetensors"):
        raise ValueError(f"--output {path} ends in {path.suffix}; give a name ending in .safetensors")
    file = path.with_suffix(".safetensors")
    check_output(file)
    return file
