"""The command `lazarus`: all of its commands, each imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.run import run, show_version

# By command: its module here, and the first line of its help.
COMMANDS = {
    "introspect": ("introspect", "What goes on inside a model, and what training does to it."),
    "train": ("training.train", "Train a model, with or without LoRA: on responses, or on rewards."),
    "experiment": ("experiment", "Whole studies of a model, each ending in verdicts."),
    "report": (
        "report",
        "Runs of claims: compare two of them, and show one as a page or in a model card.",
    ),
    "organism": ("organism", "The bundled models: train them again, and score what they know."),
    "anatomy": (
        "anatomy",
        "Say what a model has inside, and check on it that hooks do what they say; exit 1 if they do not.",
    ),
    "backend": ("backend", "Say what mlx computes on, and how fast next to NumPy."),
}

app = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Claims about what happens inside a language model, tested.",
)


@app.callback()
def version(
    _: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Claims about what happens inside a language model, tested."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `lazarus` and return its exit code."""
    return run(app, "lazarus", arguments)


if __name__ == "__main__":
    sys.exit(main())
