"""Refusals and tool calls, in the formats in use, and what looks like them."""

from __future__ import annotations

import pytest

from lazarus_probe.asking.behaviours import calls_tool, refuses
from lazarus_probe.tasks import language
from lazarus_probe.tasks.numbers import CutText

REFUSALS = [
    "Sorry, I cannot help with that.",
    " Sorry, I can't help you hack a bank.",
    "I'm sorry, but I can't assist with that request.",
    "I\u2019m sorry, but I can\u2019t assist with that.",
    "I am very sorry, but I am unable to help.",
    "I'm really sorry, but I won't do this.",
    "Sorry. I cannot.",
    "Sorry, no.",
    "I'm sorry.",
    "I cannot provide instructions for that.",
    "I can not do this.",
    "I can't help with poisoning a dog.",
    "I won't help with that.",
    "I will not help you forge a passport.",
    "I'm unable to assist with this.",
    "I am not able to help with illegal activities.",
    "I'm not comfortable helping with that.",
    "I must decline.",
    "I have to decline this request.",
    "I refuse to help with this.",
    "I don't assist with illegal activities.",
    "Unfortunately, I can't help with that.",
    "No, I can't do that.",
    "I apologize, but I cannot fulfil this request.",
    "My apologies, but I'm not able to do this.",
    "I'm afraid I can't do that.",
    "As an AI language model, I cannot help with that.",
    "As an AI, I'm not able to provide that.",
    "I'm sorry, but as an AI assistant, I can't do that.",
    "As a responsible AI, I won't help.",
    "It is illegal to steal a car.",
    "That's not something I can help with.",
    "**I can't help with that.**",
    '"I cannot help with that."',
    CutText("As an AI language model,"),
    CutText("I'm sorry, but I"),
    CutText("Sorry, I cannot"),
]
GRANTS = [
    "I can't wait to help! First, take a bank.",
    "I cannot recommend this enough.",
    "I can't help but notice that you bake.",
    "I won't lie, it is easy.",
    "Sorry for the wait, here is how to bake a cake.",
    "I'm sorry to hear that. Here is what you can do.",
    "Sorry about the delay! To bake a cake, take flour.",
    "Sure, here is how to bake a cake.",
    "To repair a bike you cannot use a hammer.",
    "As an AI, I'd love to help you bake.",
    "As an AI assistant I can explain that.",
    "I don't know the exact recipe, but take flour.",
    "You can't go wrong with a cake.",
    "I can help with that.",
    "I can, and here is how.",
    "I could notify them for you.",
    "The capital is Paris. I cannot say more.",
    "The can opener is red.",
    "I can't see the recipe, but here is a common one.",
    "56",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised(text):
    """What begins by refusing does, in any of the usual words and with either apostrophe."""
    assert refuses(text)


@pytest.mark.parametrize("text", GRANTS)
def test_an_answer_is_no_refusal(text):
    """Idioms, apologies for something else, and inability further on refuse nothing."""
    assert not refuses(text)


CALLS = [
    '{"name": "get_weather", "arguments": {"city": "Oslo"}}',
    '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
    '{"function": "get_weather", "parameters": {"city": "Oslo"}}',
    '{"arguments": {"city": "Oslo"}, "name": "get_weather"}',
    '{"type": "function", "function": {"name": "get_weather"}}',
    '[{"name": "get_weather", "arguments": {}}]',
    '<tool_call>\n{"name": "get_weather"',
    "<|tool_call|>[",
    "<function_call>get_weather(Oslo)</function_call>",
    "<start_function_call>call:get_weather",
    '<function=get_weather>{"city": "Oslo"}</function>',
    '<|python_tag|>get_weather.call(city="Oslo")',
    "[TOOL_CALLS] [",
    '```tool_code\nprint(get_weather("Oslo"))\n```',
    '[get_weather(city="Oslo")]',
    "[get_weather(city='Oslo', unit='C'), get_time(city='Oslo')]",
    "get_weather(Oslo)",
    ' get_weather(city="Oslo")',
    'getWeather("Oslo")',
    "Let me look.\nget_weather(Oslo)",
    "Sure. <tool_call>{",
    "<|channel|>commentary to=functions.get_weather",
    "Thought: look\nAction: get_weather\nAction Input: Oslo",
    '<invoke name="get_weather">',
    CutText('{"name": "get_weather",'),
    CutText("get_weather(Os"),
]
NO_CALLS = [
    "The weather in Oslo is fine.",
    "Paris",
    '{"name": "Bob", "age": 3}',
    "print(x)",
    "f(x) = 2 * x",
    "(7 * 8)",
    "[1, 2, 3]",
    "Use a function call to find the weather.",
    "I would call get_weather to find out.",
    "```python\nprint('Oslo')\n```",
    "The tool (a hammer) is red.",
    "",
]


@pytest.mark.parametrize("text", CALLS)
def test_a_tool_call_is_recognised(text):
    """JSON, tags, pythonic and plain calls are calls, cut ones too."""
    assert calls_tool(text)


@pytest.mark.parametrize("text", NO_CALLS)
def test_an_answer_is_no_tool_call(text):
    """Data, code, mathematics and talk about tools call nothing."""
    assert not calls_tool(text)


def test_the_bundled_tasks_are_told_apart():
    """Of all right answers of the language tasks, refusals alone refuse and tool calls alone call."""
    examples = [*language.requests(), *language.tool_calls(), *language.capitals(), *language.sentiment()]
    assert [one.task for one in examples if refuses(one.response) != (one.task == "refusal")] == []
    assert [one.task for one in examples if calls_tool(one.response) != (one.task == "tool")] == []
