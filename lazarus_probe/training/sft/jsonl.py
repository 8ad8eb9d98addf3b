"""Training examples as JSON lines.

A line is an object of one of three forms, each with an optional `"label"` (or `"class"`):

    {"prompt": "7 * 8 = ", "response": "56"}                  "completion" and "answer" are synonyms
    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"text": "..."}                                           learned from its second token on

Texts are used verbatim: nothing is stripped, and nothing is inserted between prompt and response.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import lines_of

RESPONSES = ("response", "completion", "answer")
LABELS = ("label", "class")


@dataclass(frozen=True)
class Example:
    """One prompt with its response.

    Attributes:
        prompt: the text before the response; of a conversation, the last message before it; "" for plain text.
        response: the text to learn.
        label: its class, if the line has one.
        messages: (role, text) of everything before the response, if the line is a conversation.
        location: `file:line`, for errors.
    """

    prompt: str
    response: str
    label: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    location: str = field(default="", compare=False)


def read_jsonl(
    path: str | Path, skip_bad: bool = False, on_bad: Callable[[str], None] = lambda _message: None
) -> list[Example]:
    """The examples of a file, one per line; blank lines and a byte order mark are ignored.

    Args:
        path: the file.
        skip_bad: skip invalid lines instead of raising.
        on_bad: called with the problem of each skipped line.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is not an example (the message names file, line and problem), or there is none.
    """
    examples = []
    for location, line in _lines(Path(path)):
        try:
            examples.append(_example(line, location))
        except ValueError as error:
            if not skip_bad:
                raise
            on_bad(str(error))
    if not examples:
        raise ValueError(f'{path} has no examples; each line is to be {{"prompt": ..., "response": ...}}')
    return examples


def by_turn(examples: Sequence[Example]) -> list[Example]:
    """The examples with every conversation split up: one for each message of the assistant.

    Each is learned after exactly the text that the model reads before answering; many chat templates render a turn
    differently once others follow.
    """
    return [turn for example in examples for turn in (*_earlier_turns(example), example)]


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """`file:line` and content of each line that is not blank."""
    with lines_of(path) as lines:
        for number, line in enumerate(lines, 1):
            content = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if content.strip():
                yield f"{path}:{number}", content


def _example(content: bytes, location: str) -> Example:
    try:
        line = content.decode()
        fields = parse_json(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{location}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        advice = "; one object per line is needed, not a list" if line.lstrip().startswith("[") else ""
        raise ValueError(f"{location}: not JSON: {error.msg} at column {error.colno}{advice}") from None
    except ValueError as error:
        raise ValueError(f"{location}: not JSON that can be read: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{location}: {_kind(fields)}, not an object with prompt and response")
    if "tools" in fields:
        raise ValueError(f"{location}: tools are not supported; write them into a system message")
    label = _label(fields, location)
    if "messages" in fields:
        return _conversation(fields["messages"], label, location)
    if "text" in fields and "prompt" not in fields:
        return Example("", _text(fields, "text", location), label, location=location)
    prompt = _text(fields, "prompt", location)
    return Example(prompt, _text(fields, _response_key(fields, location), location), label, location=location)


def _response_key(fields: Mapping[str, Any], location: str) -> str:
    keys = [key for key in RESPONSES if key in fields]
    if len(keys) > 1:
        raise ValueError(f"{location}: has {' and '.join(keys)}; give one of them")
    return keys[0] if keys else "response"


def _text(fields: Mapping[str, Any], key: str, location: str) -> str:
    if key not in fields:
        has = ", ".join(map(repr, fields)) or "no field"
        raise ValueError(f"{location}: {key!r} is missing (there is {has})")
    value = fields[key]
    if not isinstance(value, str):
        raise ValueError(f"{location}: {key!r} is {_kind(value)}; a text is needed")
    if not value:
        raise ValueError(f"{location}: {key!r} is empty; at least one character is needed")
    return value


def _label(fields: Mapping[str, Any], location: str) -> str | None:
    keys = [key for key in LABELS if fields.get(key) is not None]
    if len(keys) > 1:
        raise ValueError(f"{location}: has {' and '.join(keys)}; give one of them")
    return _text(fields, keys[0], location) if keys else None


def _conversation(messages: Any, label: str | None, location: str) -> Example:
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"{location}: 'messages' is {_kind(messages)}; a list of messages is needed")
    turns = []
    for number, message in enumerate(messages, 1):
        where = f"{location}: message {number}"
        if not isinstance(message, dict):
            raise ValueError(f"{where}: {_kind(message)}, not an object with role and content")
        turns.append((_text(message, "role", where), _text(message, "content", where)))
    role, response = turns.pop()
    if role != "assistant" or not turns:
        raise ValueError(f"{location}: 'messages' must end with one of the assistant, after another message")
    return Example(turns[-1][1], response, label, tuple(turns), location)


def _earlier_turns(example: Example) -> Iterator[Example]:
    for index, (role, text) in enumerate(example.messages):
        if role == "assistant" and index:
            before = example.messages[:index]
            yield replace(example, prompt=before[-1][1], response=text, messages=before)


def _kind(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    return "null" if value is None else repr(value)
