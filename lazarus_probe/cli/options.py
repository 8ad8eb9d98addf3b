"""Options that several commands share, so that each is spelt, explained and completed in one way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# A letter means one thing in every command, and help shows it there alone. The documents that these commands are from,
# and earlier versions, spell some otherwise; those are taken as well. By module, the option that such a letter is of.
OTHER_LETTERS = {
    "circuit.analyze": {"-a": "--activations"},
    "circuit.collect": {"-d": "--dataset"},
    "circuit.directions": {"-a": "--activations"},
    "circuit.visualize": {"-a": "--activations"},
    "generation.generate": {"-c": "--compare-format", "-t": "--temperature"},
    "geometry.layer": {"-l": "--labels"},
    "patching.patch": {"-s": "--source", "-t": "--target"},
    "probing.classifier": {"-c": "--classes", "-t": "--test"},
    "probing.neurons": {"-n": "--neurons"},
    "probing.probe": {"-t": "--test"},
    "steering.erase_concept": {"-c": "--classes"},
    "steering.steer": {"-c": "--coefficient"},
    "studies.format_sensitivity": {"-s": "--summary-only"},
}

# How a word on the command line becomes tokens; `subject.spellings` is the engine.
EVERY_SPELLING = (
    "Every spelling counts: with a space before it, without, and capitalised. ' Paris' with its space, or a word in "
    "quotes, counts alone."
)
ONE_SPELLING = (
    "The likeliest spelling is taken, with a space before it, without, or capitalised; ' Paris' with its space, or a "
    "word in quotes, as it stands."
)


def _bundled(incomplete: str) -> list[str]:
    """The bundled models whose names begin so, for a shell's completion."""
    from lazarus_probe.organisms.bundled import names

    return [name for name in names() if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Bundled model name, smollm2, folder, GGUF file, Ollama name or Hub id.",
        autocompletion=_bundled,
    ),
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORDS", help="Only claims whose id, statement or source holds all of these words."
    ),
]
Topic = Annotated[list[str] | None, typer.Option(help="Only claims of this topic; repeatable.")]
Adapter = Annotated[
    Path | None,
    typer.Option(
        "--adapter", "-a", help="Adapter folder: mlx-lm's, peft's LoRA, or one with lora_weights.npz."
    ),
]
Prompt = Annotated[
    str,
    typer.Option(
        "--prompt", "--prompts", "-p", help="The prompt; or @FILE with many, one per line or as JSON."
    ),
]
Prompts = Annotated[
    str,
    typer.Option(
        "--prompts", "--prompt", "-p", help="Prompts separated by |; or @FILE, one per line or as JSON."
    ),
]
SeveralLayers = Annotated[  # next to an option for one
    str | None,
    typer.Option("--layers", "-l", help="Layers, counted from 0, as in 0,4-7; -1 is the last; or all."),
]
Layers = Annotated[
    str | None,
    typer.Option(
        "--layers", "--layer", "-l", help="Layers, counted from 0, as in 0,4-7; -1 is the last; or all."
    ),
]
Raw = Annotated[bool, typer.Option("--raw", help="Use the plain prompt, without the chat template.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Also save the data to this JSON file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the data as JSON instead of text.")]
Seed = Annotated[
    int, typer.Option(min=0, help="Random seed of untrained models, shuffles, samples and intervals.")
]
# Of commands that draw nothing at all under some of their options: there it is refused.
ChosenSeed = Annotated[int | None, typer.Option("--seed", min=0, help="Random seed.", show_default="0")]
KeepOutliers = Annotated[
    bool,
    typer.Option(
        "--keep-outliers", help="Keep outliers: raw cosines of all dimensions, averages over all positions."
    ),
]
