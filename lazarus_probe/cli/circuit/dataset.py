"""`circuit dataset`: creates sets of labelled prompts, and shows them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import json_text
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.circuit.dataset import PromptSet

dataset = typer.Typer(
    cls=lazy_group(),
    add_completion=False,
    rich_markup_mode=None,
    help="Create a set of labelled prompts, or show one.",
)


@dataset.command()
def create(
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")],
    per_tool: Annotated[int, typer.Option(min=1, help="Number of prompts for each of the three tools.")] = 25,
    no_tool: Annotated[int, typer.Option(min=0, help="Number of prompts that need no tool.")] = 100,
    no_edge_cases: Annotated[
        bool,
        typer.Option("--no-edge-cases", help="Leave out prompts that use a tool's words but need no tool."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Create prompts that need a tool and prompts that do not, all different, with their templates.

    The tools are those of the bundled organism: weather, time, flights. A third of the prompts that need no tool use
    the words of one, so that words alone do not give the label away.
    """
    check_output(output, suffix=".json")
    from lazarus_probe.circuit.dataset import read_prompts
    from lazarus_probe.circuit.tool_dataset import tool_dataset

    data = tool_dataset(per_tool, no_tool, not no_edge_cases, seed)
    write_whole(output, json_text(data) + "\n")
    prompts = read_prompts(output)
    text = (
        f"{counts_text(prompts)}\n\nContrastive pairs: {len(data['contrastive_pairs'])}\nSaved to: {output}"
    )
    deliver(summary(prompts) | {"file": str(output), "metadata": data["metadata"]}, text, as_json=as_json)


@dataset.command()
def show(
    file: Annotated[Path, typer.Argument(help="A set of prompts: JSON, or a text file with one per line.")],
    samples: Annotated[int, typer.Option(min=0, help="Number of prompts to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show what a set of prompts contains: counts by label, category and template, samples, duplicates."""
    from lazarus_probe.circuit.dataset import read_prompts

    prompts = read_prompts(file)
    rows = [
        {
            "text": prompts.texts[i],
            "label": prompts.labels[i],
            "category": prompts.categories[i],
            "group": prompts.groups[i],
        }
        for i in spread(len(prompts.texts), samples)
    ]
    text = counts_text(prompts)
    if rows:
        shown = Table(
            (Column("label", width=14), Column("category", width=12), "prompt"),
            [(named(prompts, row["label"]), row["category"] or None, repr(row["text"])) for row in rows],
        )
        text += f"\n\nSamples ({len(rows)} of {len(prompts.texts)}):\n{shown.text(gap=1)}"
    deliver(summary(prompts) | {"samples": rows}, text, as_json=as_json)


def spread(count: int, wanted: int) -> list[int]:
    """Numbers below `count`, at most `wanted`, evenly spread."""
    wanted = min(count, wanted)
    return [i * count // wanted for i in range(wanted)]


def named(prompts: PromptSet, label: Any) -> str:
    """What a label is called."""
    return "-" if label is None else prompts.called(label)


def summary(prompts: PromptSet) -> dict[str, Any]:
    """Counts of what a set holds."""
    texts = Counter(prompts.texts)
    return {
        "name": prompts.name,
        "num_prompts": len(prompts.texts),
        "labels": dict(Counter(named(prompts, label) for label in prompts.labels)),
        "categories": dict(Counter(str(name) for name in prompts.categories if name is not None)),
        "templates": dict(Counter(str(name) for name in prompts.groups if name is not None)),
        "duplicates": {text: count for text, count in texts.items() if count > 1},
    }


def counts_text(prompts: PromptSet) -> str:
    """The counts as text."""
    data = summary(prompts)
    lines = [title(f"Dataset: {data['name'] or 'without a name'}"), f"Prompts: {data['num_prompts']}"]
    for heading, key in (("By label", "labels"), ("By category", "categories")):
        if data[key]:
            lines += [f"{heading}:", *(f"  {name:<22} {count}" for name, count in data[key].items())]
    if templates := data["templates"]:
        lines += [f"By template ({len(templates)}):"]
        lines += [f"  {count:<4} {name}" for name, count in templates.items()]
    else:
        lines += ["No templates: give each prompt a `group`, else no probe can be scored on new ones."]
    repeated = data["duplicates"]
    lines += [f"Duplicates: {sum(repeated.values()) - len(repeated)}"]
    lines += [f"  {f'{count} x':<4} {text!r}" for text, count in list(repeated.items())[:5]]
    return "\n".join(lines)
