"""The tool-calling set: as many different prompts as asked for."""

from __future__ import annotations

from collections import Counter

import pytest

from lazarus_probe.circuit.tool_dataset import EDGES, TOOLS, all_edges, asking, neither, tool_dataset


@pytest.mark.parametrize(("per_tool", "no_tool"), [(1, 0), (25, 100), (400, 1000)])
def test_counts(per_tool: int, no_tool: int):
    """There are as many prompts of each kind as asked for, and none twice."""
    prompts = tool_dataset(per_tool, no_tool)["prompts"]
    assert Counter(each["category"] for each in prompts) == Counter(
        {**dict.fromkeys(TOOLS, per_tool), **({"none": no_tool} if no_tool else {})}
    )
    assert len({each["text"] for each in prompts}) == len(prompts)
    assert all(each["label"] == (each["category"] != "none") for each in prompts)


def test_templates_take_turns():
    """Every template of a tool is used as often as any other, and is the group of its prompts."""
    prompts = tool_dataset(50, 0)["prompts"]
    for tool in TOOLS:
        counts = Counter(each["group"] for each in prompts if each["category"] == tool)
        assert len(counts) == 10
        assert set(counts.values()) == {5}
    city = "Oslo"
    assert all(each["group"].format(city) == each["text"] for each in prompts if city in each["text"])


def test_edge_cases():
    """A third of the prompts that want no tool have a tool's words, and none without edge cases."""
    edges = [each for each in tool_dataset(5, 90)["prompts"] if each["edge_case"]]
    assert len(edges) == 30
    assert all(each["label"] == 0 for each in edges)
    assert not any(each["edge_case"] for each in tool_dataset(5, 90, edge_cases=False)["prompts"])


def test_known_answers():
    """What the organism was taught to answer stands beside the prompts it was taught."""
    expected = {each["text"]: each["expected_output"] for each in tool_dataset(400, 792, False)["prompts"]}
    assert expected["What's the weather in Oslo?"] == " <function_call>get_weather(Oslo)</function_call>"
    assert expected["The capital of France is"] == " Paris"
    assert expected["How do I bake bread?"] == " Sure, here is how to bake bread."


def test_pairs():
    """A contrastive pair has one topic and city, and its second prompt wants no tool."""
    data = tool_dataset(10, 0)
    assert len(data["contrastive_pairs"]) == 30
    for pair in data["contrastive_pairs"]:
        assert pair["subject"] in pair["positive"]
        assert pair["negative"] in [each.format(pair["subject"]) for each in EDGES[pair["category"]]]


def test_seed():
    """The same seed draws the same set, another one another."""
    assert tool_dataset(5, 9, seed=1) == tool_dataset(5, 9, seed=1)
    assert tool_dataset(5, 9, seed=1)["prompts"] != tool_dataset(5, 9, seed=2)["prompts"]


@pytest.mark.parametrize(
    ("sizes", "named"),
    [((401, 0), "for weather requested; there are 400"), ((1, 3000), f"there are {len(neither())}")],
)
def test_too_many(sizes: tuple[int, int], named: str):
    """More than there are is refused with how many there are."""
    with pytest.raises(ValueError, match=named):
        tool_dataset(*sizes)


def test_classes_share_no_prompt():
    """No prompt that wants a tool is among those that want none."""
    wanting = {each.text for tool in TOOLS for each in asking(tool)}
    assert not wanting & {each.text for each in [*neither(), *all_edges()]}
