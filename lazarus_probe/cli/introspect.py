"""`lazarus introspect`: what goes on inside a model, and what training does to it."""

from __future__ import annotations

import typer

from lazarus_probe.cli.dual_reward import dual_reward

introspect = typer.Typer(help="What goes on inside a model, and what training does to it.")


@introspect.callback()
def group() -> None:
    """Nothing by itself: what is looked into is a command."""


introspect.command("dual-reward")(dual_reward)
