"""`lazarus introspect format-sensitivity`: what a space at the end of a prompt does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.geometry.layer import layers_of
from lazarus_probe.cli.options import Adapter, AsJson, Model, Output, Prompts, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_prompts
from lazarus_probe.cli.watching import watched
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.introspection.studies.format_sensitivity import (
        FormatCompletion,
        FormatSensitivity,
        PromptFormats,
    )

CLAIM = "format-sensitivity"


def format_sensitivity(
    model: Model,
    prompts: Prompts,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            "--layer",
            "-l",
            help="Layers, counted from 0, as in 0,4-7; -1 is the last; or all.",
            show_default="six layers",
        ),
    ] = None,
    summary_only: Annotated[bool, typer.Option("--summary-only", help="Print only the summary.")] = False,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "-n", min=1, help="Maximum tokens of an answer.")
    ] = 8,
    adapter: Adapter = None,
    seed: Seed = 0,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Run prompts with and without a trailing space, and report what that changes.

    States at the last token differ in any model, so a model is called sensitive by its answers alone, numbers parsed,
    and only where a leading space changes fewer of them.
    """
    texts = parse_prompts(prompts)
    if any(not text.rstrip(" ") for text in texts):
        raise ValueError("--prompts holds a prompt of nothing but spaces; give some text")
    check_output(output)
    chosen = layers_of(model, layers)
    from lazarus_probe.introspection.studies import format_sensitivity as analysis
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    with watched("generate") as check:
        result = analysis.format_sensitivity(
            subject, texts, chosen, max_tokens=max_tokens, seed=seed, check=check
        )
    sensitive, reason = verdict_of(result)
    data = result.as_data() | {
        "verdict": {"claim": CLAIM, "sensitive": sensitive, "reason": reason},
        "about": about(subject, seed),
    }
    if summary_only:
        data = {key: value for key, value in data.items() if key not in ("results", "layer_results")}
    parts = [title("Format sensitivity: a space at the end of a prompt")]
    parts += [] if summary_only else [*map(_prompt, result.prompts), _layers(result)]
    deliver(data, "\n\n".join([*parts, _summary(result, sensitive, reason)]), as_json=as_json, output=output)


def verdict_of(result: FormatSensitivity) -> tuple[bool, str]:
    """Whether a model is sensitive to the space, as the claim `format-sensitivity` declares it; and why or why not."""
    measured = result.measurement()
    if measured is None:
        return False, str(result.why_untestable())
    from lazarus_probe.claims.judging import judge_declared
    from lazarus_probe.claims.verdict import Outcome

    verdict = judge_declared(CLAIM, measured)
    return verdict.outcome is Outcome.SUPPORTED, str(verdict)


def _prompt(formats: PromptFormats) -> str:
    answers = {"with": formats.with_space, "without": formats.without, "leading": formats.control}
    rows = [_row(name, answer) for name, answer in answers.items()]
    table = Table(("", "tokens", "output", Column("answer", "g"), "right"), rows)
    kl = f"next-token KL {formats.kl:.4f} nats; of the leading space {formats.control_kl:.4f}"
    changed = f"the space {'changes' if formats.changed else 'does not change'} the answer"
    ends = f"ends in {_end(formats.with_space)} with the space, and in {_end(formats.without)} without"
    return "\n".join(
        [f"Prompt: {formats.without.prompt!r}", *table.fitted(), f"  {ends}", f"  {changed}; {kl}"]
    )


def _row(name: str, completion: FormatCompletion) -> tuple[object, ...]:
    right = None if completion.right is None else "yes" if completion.right else "no"
    return f"  {name}", len(completion.tokens), repr(completion.output), completion.answer, right


def _end(completion: FormatCompletion) -> str:
    return " ".join(map(repr, completion.tokens[-2:]))


def _layers(result: FormatSensitivity) -> str:
    names = ("Separation", "With/without", "Leading space", "Other prompts")
    rows = [
        (f"L{one.layer}", one.clusters.separation, one.pair, one.control, one.others) for one in result.layers
    ]
    table = Table(["Layer", *(Column(name, ".4f") for name in names)], rows)
    return f"Cosines between states at the last token:\n{table.text()}"


def _summary(result: FormatSensitivity, sensitive: bool, reason: str) -> str:
    n = len(result.prompts)
    with_space, without, scored = result.right()
    measured = result.measurement()
    changed = sum(prompt.changed for prompt in result.prompts)
    control_changed = sum(prompt.control_changed for prompt in result.prompts)
    interval = "" if measured is None else f" [{measured.low:.2f}, {measured.high:.2f}]"
    lines = [
        "Summary:",
        f"  Answers that the space changes: {changed}/{n}{interval}",
        f"  Answers that a space before the prompt changes: {control_changed}/{n}",
    ]
    if scored:
        lines.append(f"  Right answers: {with_space}/{scored} with the space, {without}/{scored} without")
    conclusion = (
        "The model is SENSITIVE to the space" if sensitive else "That the model is sensitive is not shown"
    )
    return "\n".join([*lines, f"  {conclusion}: {reason}"])
