"""The pairs of prompts of a patching command: from two options, two files of prompts, or one file of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import ONE_SPELLING
from lazarus_probe.cli.parsing import paired_prompts, parse_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair, Tokens
    from lazarus_probe.introspection.patching.prompt_pairs import PromptPair
    from lazarus_probe.subject.subject import Subject

Source = Annotated[
    str | None, typer.Option("--source", help="The prompt to patch from; or @FILE with many, in order.")
]
Target = Annotated[
    str | None, typer.Option("--target", help="The prompt to patch into, with as many tokens; or @FILE.")
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        "--pairs", help="Many pairs: lines `source => target`, or JSON, optionally with answer and other."
    ),
]
Answer = Annotated[
    str | None,
    typer.Option(
        help=f"Answer token of the source. {ONE_SPELLING}", show_default="the model's own prediction"
    ),
]
Other = Annotated[
    str | None,
    typer.Option(
        help="Answer token of the target, spelled alike.", show_default="the model's own prediction"
    ),
]


def pairs_of(
    source: str | None, target: str | None, pairs: Path | None, answer: str | None, other: str | None
) -> list[PromptPair]:
    """The pairs that the options give.

    Raises:
        OSError: a file cannot be read.
        ValueError: neither both prompts nor a file of pairs, or both; or files of different lengths.
    """
    from lazarus_probe.introspection.patching.prompt_pairs import SINGLE_TOKENS, PromptPair, read_pairs

    prompts = paired_prompts(source, target, pairs, ("--source", "--target"), parse_prompt)
    if pairs is not None:
        if answer is not None or other is not None:
            raise ValueError('--pairs names tokens by "answer" and "other"; leave --answer and --other out')
        return read_pairs(pairs, SINGLE_TOKENS)
    return [PromptPair(*pair, answer, other) for pair in prompts]


def described(subject: Subject, pairs: Sequence[EncodedPair], tokens: Tokens) -> str:
    """A line or more on the pairs and the tokens of the metric."""
    if len(pairs) > 1:
        written = f"; answers {tokens.form}" if tokens.form else ""
        return f"{len(pairs)} pairs; metric: logit of the source's token minus that of the target's{written}"
    words = [repr(subject.decode([token])) for token in (tokens.answers[0], tokens.others[0])]
    return (
        f"Source: {pairs[0].source.text!r}\nTarget: {pairs[0].target.text!r}\n"
        f"Metric: logit of {words[0]} minus logit of {words[1]}, at the last position"
    )
