"""The command `circuit`: what models compute on sets of prompts, kept in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.run import run, show_version

# By command: its module here, and the first line of its help.
COMMANDS = {
    "dataset": ("circuit.dataset", "Create a set of labelled prompts, or show one."),
    "collect": ("circuit.collect", "Collect the residual stream after each layer, one vector per prompt."),
    "analyze": (
        "circuit.analyze",
        "Analyse the geometry of collected activations: PCA, UMAP, and probes with controls.",
    ),
    "directions": (
        "circuit.directions",
        "Extract directions that separate two labels, scored on held-out templates.",
    ),
    "visualize": (
        "circuit.visualize",
        "Plot collected activations, attention and the logit lens.",
    ),
    "probes": (
        "circuit.probes",
        "Run probe batteries over all layers, to find the layer at which each property emerges.",
    ),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Collect, probe and plot activations of labelled prompts.",
)


@app.callback()
def version(
    _: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing but `--version`: everything else is a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `circuit` and return its exit code."""
    return run(app, "circuit", arguments)
