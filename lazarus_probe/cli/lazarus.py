"""The command `lazarus`: all of its commands, each imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.run import run, show_version

# By command: its module here, and the first line of its help.
COMMANDS = {
    "demo": (
        "demo",
        "Test three published claims on a bundled model in about 20 seconds: one holds, one is confounded, one fails.",
    ),
    "test": ("test", "Test the claims that come with the package on a model."),
    "claims": ("claims", "List the claims that come with the package, or those that hold some words."),
    "introspect": ("introspect", "Inspect what happens inside a model, and what training changes in it."),
    "train": (
        "training.train",
        "Train a model, with or without LoRA: on responses (sft) or on rewards (grpo).",
    ),
    "experiment": ("experiment", "Run a complete study of a model, ending in verdicts."),
    "report": (
        "report",
        "Compare runs of claims, merge shards of one, or show one as a page or in a model card.",
    ),
    "mutants": (
        "mutants.mutants",
        "Change a model inside, a hundred times, and count how often a suite of claims notices.",
    ),
    "models": ("models", "List the models on this machine, and fetch those that the index has."),
    "organism": ("organism", "Retrain the bundled models, and score what they know."),
    "anatomy": (
        "anatomy",
        "Show the structure of a model, and check that hooks work correctly on it; exit 1 if they do not.",
    ),
    "costs": (
        "parallel.costs",
        "Compute what a model costs each process in memory and traffic, by how it is split; it needs no weights.",
    ),
    "backend": ("backend", "Show what mlx computes on, and how fast it is compared with NumPy."),
}

SECTIONS = {
    "Test claims": ["demo", "test", "claims", "report", "mutants"],
    "Look inside a model": ["introspect", "anatomy"],
    "Train": ["train", "experiment"],
    "Models and machine": ["models", "organism", "costs", "backend"],
}

app = typer.Typer(
    cls=lazy_group(COMMANDS, SECTIONS),
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Test claims about what happens inside a language model.",
)


@app.callback()
def lazarus(
    _: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
    parallel: Annotated[
        str | None,
        typer.Option(
            metavar="tensor|pipeline|data",
            help="Over the processes of mlx.launch, split models within blocks or by blocks, or deal batches of whole "
            "models; also after the command.",
        ),
    ] = None,
) -> None:
    """Test claims about what happens inside a language model."""
    if parallel is not None:
        from lazarus_probe.subject.one_run import join

        join(parallel)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `lazarus` and return its exit code."""
    return run(app, "lazarus", _parallel_first(sys.argv[1:] if arguments is None else arguments))


def _parallel_first(arguments: Sequence[str]) -> list[str]:
    """Arguments with `--parallel`, which is of all commands and of none, before the command."""
    rest, first = list(arguments), list[str]()
    for name in [word for word in rest if word == "--parallel" or word.startswith("--parallel=")]:
        index = rest.index(name)
        taken = rest[index : index + (2 if name == "--parallel" else 1)]
        del rest[index : index + len(taken)]
        first += taken
    return [*first, *rest]


if __name__ == "__main__":
    sys.exit(main())
