"""The pairs of prompts that commands on circuits take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.parsing import paired_prompts, parse_prompts

if TYPE_CHECKING:
    from lazarus_probe.introspection.patching.prompt_pairs import PromptPair

Clean = Annotated[
    str | None,
    typer.Option(help="Prompts whose answers are to be explained, separated by |; or @FILE, in order."),
]
Corrupted = Annotated[
    str | None,
    typer.Option(help="For each a prompt with as many tokens and another answer; or @FILE, in order."),
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        help="Instead: lines `corrupted => clean`, or JSON with source (corrupted), target (clean) and, "
        "optionally, their answers as answer and other, and a group."
    ),
]


def circuit_pairs(clean: str | None, corrupted: str | None, pairs: Path | None) -> list[PromptPair]:
    """Pairs of a file, or of two lists of prompts.

    Raises:
        ValueError: both are given or neither, or the lists are not equally long.
    """
    from lazarus_probe.introspection.patching.prompt_pairs import SINGLE_TOKENS, PromptPair, read_pairs

    prompts = paired_prompts(clean, corrupted, pairs, ("--clean", "--corrupted"), parse_prompts)
    if pairs is not None:
        return read_pairs(pairs, SINGLE_TOKENS)
    return [PromptPair(source, target) for target, source in prompts]
