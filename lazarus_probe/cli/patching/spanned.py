"""The prompts of a command that acts on a part of them: one from options, or a file of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import ONE_SPELLING
from lazarus_probe.cli.parsing import checked_text

if TYPE_CHECKING:
    from lazarus_probe.introspection.patching.spanned_prompts import EncodedSpans, SpannedPrompt
    from lazarus_probe.statistics.measurement import Damage
    from lazarus_probe.subject.subject import Subject

PromptText = Annotated[str | None, typer.Option("--prompt", "-p", help="The prompt.")]
Part = Annotated[
    str | None, typer.Option(help="A part of the prompt, such as its subject, in which it occurs once.")
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        help='Many prompts: JSON or JSON lines of {"prompt", "part"} and optionally answer, other, group.',
    ),
]
Answer = Annotated[
    str | None,
    typer.Option(help=f"Token that should follow. {ONE_SPELLING}", show_default="the model's own prediction"),
]
Other = Annotated[
    str | None,
    typer.Option(help="Token to compare it with, spelled alike.", show_default="none: its probability"),
]


def spanned_of(
    prompt: str | None, part: str | None, file: Path | None, answer: str | None, other: str | None
) -> list[SpannedPrompt]:
    """The prompts that the options give.

    Raises:
        OSError: the file cannot be read.
        ValueError: neither a prompt with its part nor a file, both, or an empty text.
    """
    from lazarus_probe.introspection.patching.spanned_prompts import SpannedPrompt, read_spanned

    options = {"--prompt": prompt, "--part": part, "--answer": answer, "--other": other}
    if file is not None:
        if wrong := [name for name, value in options.items() if value is not None]:
            raise ValueError(f"{wrong[0]} is given together with --prompts {file}; give it in that file")
        return read_spanned(file)
    if prompt is None or part is None:
        raise ValueError("give --prompt and --part, or --prompts FILE")
    for name, value in options.items():
        if value is not None and not value.strip():
            raise ValueError(f"{name} is empty; give some text")
        checked_text(value or "", name)
    return [SpannedPrompt(prompt, part, answer, other)]


def described(subject: Subject, prompts: list[SpannedPrompt], encoded: EncodedSpans, metric: str) -> str:
    """A line or more on the prompts, their parts and the metric."""
    if len(prompts) > 1:
        written = f"; words {encoded.form}" if encoded.form else ""
        return f"{len(prompts)} prompts of {len(set(encoded.units))} units; metric: {metric} at the last token{written}"
    ids, where = encoded.ids[0], encoded.spans[0]
    tokens = ", ".join(repr(subject.decode([token])) for token in ids[where.start : where.stop])
    other = "" if encoded.others is None else f" against {subject.decode([encoded.others[0]])!r}"
    return (
        f"Prompt: {prompts[0].prompt!r}\nPart: {tokens} (tokens {where.start} to {where.last})\n"
        f"Metric: {metric} of {subject.decode([encoded.answers[0]])!r}{other}, at the last token"
    )


def damage_line(damage: Damage | None) -> str:
    """What an edit does to unrelated prompts, in words."""
    return "Damage: not measured, without a tokenizer" if damage is None else f"Damage: {damage}"
