"""`lazarus introspect`: what goes on inside a model, and what training does to it."""

from __future__ import annotations

import typer

from lazarus_probe.cli.commands import lazy_group

# By command: its module here, and the first line of its help.
COMMANDS = {
    "dual-reward": (
        "dual_reward",
        "Train V and O so that the logit lens at a middle layer names the operation, and answers stay right.",
    ),
}

introspect = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    help="What goes on inside a model, and what training does to it.",
)


@introspect.callback()
def group() -> None:
    """What goes on inside a model, and what training does to it."""
