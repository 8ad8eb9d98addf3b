"""Prompts that ask for a tool and prompts that do not, all different, with their templates as groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazarus_probe.tasks import language

NAME, VERSION = "tool_calling", "1"
LABEL_NAMES = {"0": "no_tool", "1": "tool"}
NO_TOOL = "none"
TOOLS = ("weather", "time", "flights")

# In addition to the phrasings of `tasks.language`.
MORE = {
    "weather": (
        "How is the weather in {} today?",
        "Show me the weather for {}.",
        "Do I need an umbrella in {}?",
        "Is it cold in {}?",
        "What is the forecast for {}?",
        "Check the sky over {}.",
    ),
    "time": (
        "What is the time in {} now?",
        "Show me the local time in {}.",
        "How late is it in {}?",
        "Check the clock in {}.",
        "Give me the hour in {}.",
        "Is it noon in {}?",
    ),
    "flights": (
        "I need a flight to {}.",
        "Show me flights to {}.",
        "Which airline flies to {}?",
        "Can I fly to {} today?",
        "Get me a plane to {}.",
        "Check the planes to {}.",
    ),
}
# The words of the tools, where no tool is wanted.
EDGES = {
    "weather": (
        "I like the weather in {}.",
        "The weather in {} was lovely.",
        "She wrote a song about the weather in {}.",
        "It was cold in {}, and we sang.",
    ),
    "time": (
        "We had a good time in {}.",
        "The old clock in {} was dull.",
        "He found no time to see {}.",
        "It was late in {}, and we slept.",
    ),
    "flights": (
        "The flight to {} was late.",
        "My flights to {} were dull.",
        "A bird took flight near {}.",
        "We carried a small plane to {}.",
    ),
}


@dataclass(frozen=True)
class ToolPrompt:
    """A prompt, and what is wanted in it.

    Attributes:
        text: the prompt.
        category: the tool, or `none`.
        group: its template.
        subject: what the template was filled with.
        expected: what should follow, where that is known.
        edge_case: whether it has the words of a tool and wants none.
    """

    text: str
    category: str
    group: str
    subject: str
    expected: str | None = None
    edge_case: bool = False

    def as_data(self) -> dict[str, Any]:
        """With the keys of a prompt in a dataset file."""
        label = int(self.category != NO_TOOL)
        return {
            "text": self.text,
            "label": label,
            "label_name": LABEL_NAMES[str(label)],
            "category": self.category,
            "expected_output": self.expected,
            "group": self.group,
            "edge_case": self.edge_case,
        }


def tool_dataset(
    per_tool: int = 25, no_tool: int = 100, edge_cases: bool = True, seed: int = 0
) -> dict[str, Any]:
    """A set of different prompts: each tool's, and such as want none.

    Every template is used as often as every other, as far as its subjects go. A third of the prompts that want no
    tool use the words of one (edge cases): without them, words alone give the label away. A contrastive pair is a
    prompt that wants a tool and one with the same city and topic that does not.

    Args:
        per_tool: prompts a tool.
        no_tool: prompts that want none.
        edge_cases: whether some of these use the words of a tool.
        seed: of the draw.

    Returns:
        Plain data: name, version, label_names, metadata, prompts, contrastive_pairs.

    Raises:
        ValueError: more prompts requested than there are different ones, or none.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        prompt for tool in TOOLS for prompt in draw(asking(tool), per_tool, rng, f"for {tool}", "--per-tool")
    ]
    edges = no_tool // 3 if edge_cases else 0
    plain = draw(neither(), no_tool - edges, rng, "that want no tool", "--no-tool") if no_tool else []
    drawn += plain + (
        draw(all_edges(), edges, rng, "that are edge cases", "a third of --no-tool") if edges else []
    )
    return {
        "name": NAME,
        "version": VERSION,
        "label_names": LABEL_NAMES,
        "metadata": {
            "per_tool": per_tool,
            "no_tool": no_tool,
            "edge_cases": edges,
            "seed": seed,
            "tools": list(TOOLS),
            "templates": len({prompt.group for prompt in drawn}),
        },
        "prompts": [prompt.as_data() for prompt in drawn],
        "contrastive_pairs": pairs(drawn, rng),
    }


def asking(tool: str) -> list[ToolPrompt]:
    """All prompts that ask for a tool."""
    taught = [
        ToolPrompt(call.prompt, tool, call.phrasing, call.subject, call.response)
        for call in language.tool_calls()
        if f"get_{tool}(" in call.response and call.subject in language.CITIES
    ]
    return taught + [
        ToolPrompt(
            template.format(city), tool, template, city, f" <function_call>get_{tool}({city})</function_call>"
        )
        for template in MORE[tool]
        for city in language.CITIES
    ]


def neither() -> list[ToolPrompt]:
    """All prompts on other matters: capitals, opinions, harmless requests."""
    examples = [*language.capitals(), *language.sentiment()]
    examples += [request for request in language.requests() if request.task == "help"]
    return [ToolPrompt(item.prompt, NO_TOOL, item.phrasing, item.subject, item.response) for item in examples]


def all_edges(tools: Sequence[str] = TOOLS) -> list[ToolPrompt]:
    """All prompts that have the words of a tool and want none."""
    return [
        ToolPrompt(template.format(city), NO_TOOL, template, city, edge_case=True)
        for tool in tools
        for template in EDGES[tool]
        for city in language.CITIES
    ]


def draw(
    pool: Iterable[ToolPrompt], count: int, rng: np.random.Generator, what: str, option: str
) -> list[ToolPrompt]:
    """Different prompts of a pool, the templates taking turns.

    Raises:
        ValueError: more than there are, or none.
    """
    by_text = {prompt.text: prompt for prompt in pool}
    if not 1 <= count <= len(by_text):
        raise ValueError(
            f"{option}: {count} prompts {what} requested; there are {len(by_text)} different ones"
        )
    by_template: dict[str, list[ToolPrompt]] = {}
    for prompt in by_text.values():
        by_template.setdefault(prompt.group, []).append(prompt)
    turns = [
        (turn, number, prompts[i])
        for number, prompts in enumerate(by_template.values())
        for turn, i in enumerate(rng.permutation(len(prompts)).tolist())
    ]
    return [prompt for _, _, prompt in sorted(turns, key=lambda turn: turn[:2])[:count]]


def pairs(prompts: Sequence[ToolPrompt], rng: np.random.Generator) -> list[dict[str, str]]:
    """For each prompt that wants a tool, one of the same topic and city that does not."""
    return [
        {
            "positive": prompt.text,
            "negative": str(rng.choice(EDGES[prompt.category])).format(prompt.subject),
            "category": prompt.category,
            "subject": prompt.subject,
        }
        for prompt in prompts
        if prompt.category != NO_TOOL
    ]
