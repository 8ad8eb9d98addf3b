"""`lazarus introspect logit-attribution`: the direct contribution of each component to a logit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import ONE_SPELLING, Adapter, AsJson, Model, Output, Prompt
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazarus_probe.introspection.attribution.logit_attribution import LogitAttribution


def logit_attribution(
    model: Model,
    prompt: Prompt,
    adapter: Adapter = None,
    answer: Annotated[
        str | None,
        typer.Option(help=f"The token to explain. {ONE_SPELLING}", show_default="the model's own prediction"),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            help="A second token, spelled alike, to explain the logit difference.",
            show_default="none: explain the logit",
        ),
    ] = None,
    heads: Annotated[bool, typer.Option("--heads", help="Split attention by head.")] = False,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="Show this many components, the largest first.", show_default="all, in order"
        ),
    ] = None,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Split a logit, or a logit difference, into the direct contribution of each component.

    Elhage et al. 2021. The contributions sum to the model's own logit, with the final norm's scale frozen; the error
    is printed, and a model whose logits are not such a sum is refused. A direct effect is not a component's total
    effect.
    """
    check_output(output)
    prompts = parse_prompt(prompt)
    from lazarus_probe.introspection.attribution import logit_attribution as analysis
    from lazarus_probe.introspection.generation.spelled import spelled_after
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    words = [word for word in (answer, other) if word is not None]
    spelled = spelled_after(subject, prompts * len(words), [word for word in words for _ in prompts])
    tokens = [spelled.tokens[i * len(prompts) : (i + 1) * len(prompts)] for i in range(len(words))]
    first = None if answer is None else tokens[0]
    result = analysis.logit_attribution(subject, prompts, first, None if other is None else tokens[-1], heads)
    data = {"prompts": prompts, **result.as_data(), "about": about(subject)}
    deliver(data, as_text(subject.name, prompts, result, top), as_json=as_json, output=output)


def as_text(name: str, prompts: Sequence[str], result: LogitAttribution, top: int | None) -> str:
    """The parts in order or by size, with bars."""
    lines = [title(f"DIRECT LOGIT ATTRIBUTION: {name}")]
    lines.append(
        f"Prompt: {prompts[0]!r}" if len(prompts) == 1 else f"{len(prompts)} prompts: means over them"
    )
    other = "" if result.other_texts is None else f" minus logit of {_names(result.other_texts)}"
    lines += [f"Logit of {_names(result.answer_texts)}{other}", "", result.table(top).text(gap=1)]
    total, sum_ = (values.sum() / len(prompts) for values in (result.total, result.values))
    lines.append(f"\nSum of all parts {sum_:+.4f}; the model's own {total:+.4f}")
    lines.append(f"Largest error of a sum: {result.residual_error:.1e} of the logit")
    lines.append("What a part adds directly is not all it does: patch it to see what later parts make of it.")
    return "\n".join(lines)


def _names(texts: Sequence[str]) -> str:
    return repr(texts[0]) if len(set(texts)) == 1 else "each prompt's token"
