"""`lazarus introspect self-repair`: how much less is lost without a head than it contributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import ONE_SPELLING, Adapter, AsJson, Model, Output, Prompts, Seed
from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.parsing import check_output, parse_prompts
from lazarus_probe.cli.patching.spanned import damage_line
from lazarus_probe.spelling import one_of

if TYPE_CHECKING:
    from lazarus_probe.introspection.attribution.repair_effects import HeadAblation, SelfRepair

ABLATIONS: tuple[HeadAblation, ...] = ("mean", "zero", "resample")


def self_repair(
    model: Model,
    prompts: Prompts,
    answers: Annotated[
        str,
        typer.Option(help=f"The token that should follow, or one a prompt, separated by |. {ONE_SPELLING}"),
    ],
    others: Annotated[
        str | None,
        typer.Option(
            help="A second token to compare it with, or one a prompt, spelled alike.",
            show_default="none: the logit",
        ),
    ] = None,
    heads: Annotated[
        str | None,
        typer.Option(
            help="Heads to ablate, as in 9.6,10.0.", show_default="those of the largest contribution"
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of heads, where they are not given.")] = 10,
    ablation: Annotated[
        str, typer.Option(help="What takes the place of a head's output: mean, zero or resample.")
    ] = "mean",
    adapter: Adapter = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    output: Output = None,
) -> None:
    """Compare what heads contribute directly with what is lost without them, the final norm's scale frozen and not.

    McGrath et al. 2023 (arXiv:2307.15771); Rushing & Nanda 2024 (arXiv:2402.15390). Heads are ablated at the last
    token, one at a time; the same ablation is made on unrelated prompts.
    """
    check_output(output)
    chosen_ablation = next((name for name in ABLATIONS if name == ablation), None)
    if chosen_ablation is None:
        raise ValueError(f"--ablation {ablation} is unknown; {one_of(ablation, ABLATIONS)}")
    texts = parse_prompts(prompts)
    words = _words(answers, len(texts), "--answers")
    other_words = None if others is None else _words(others, len(texts), "--others")
    chosen = None if heads is None else _heads(heads)
    from lazarus_probe.introspection.attribution import self_repair as analysis
    from lazarus_probe.introspection.generation.spelled import spelled_after
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    rows = 1 if other_words is None else 2
    tokens = spelled_after(subject, texts * rows, [*words, *(other_words or [])]).tokens
    result = analysis.self_repair(
        subject,
        texts,
        tokens[: len(texts)],
        tokens[len(texts) :] or None,
        heads=chosen,
        top=top,
        ablation=chosen_ablation,
        seed=seed,
        progress=True,
    )
    data = {"prompts": texts, "answers": words, "others": other_words} | result.as_data()
    deliver(
        data | {"about": about(subject, seed)}, as_text(subject.name, result), as_json=as_json, output=output
    )


def as_text(name: str, result: SelfRepair) -> str:
    """By head the direct and the total effect, and what makes up for the difference."""
    lines = [title(f"SELF-REPAIR: {name}")]
    lines.append(
        f"{len(result.units)} prompts; {result.ablation} ablation at the last token (seed {result.seed})"
    )
    lines.append(f"Logit, or difference: {result.total.mean():+.3f} on average")
    lines += ["", result.table().text(), ""]
    lines.append(
        "Repaired is direct less lost: by components with the final norm's scale frozen, by the norm the rest."
    )
    lines.append(damage_line(result.damage))
    return "\n".join(lines)


def _words(text: str, count: int, option: str) -> list[str]:
    words = parse_prompts(text, option)
    if len(words) not in (1, count):
        raise ValueError(f"{option} has {len(words)} words for {count} prompts; give one, or one a prompt")
    return words * count if len(words) == 1 else words


def _heads(text: str) -> list[tuple[int, int]]:
    heads = []
    for part in text.split(","):
        numbers = part.strip().split(".")
        if len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
            raise ValueError(
                f"--heads {text}: {part.strip()!r} is no head; give layer and head, as in 9.6,10.0"
            )
        heads.append((int(numbers[0]), int(numbers[1])))
    return heads
