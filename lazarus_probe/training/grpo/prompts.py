"""Prompts to train on with a reward: from JSON lines, or drawn from the corpus of the bundled models."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_text
from lazarus_probe.organisms import corpus
from lazarus_probe.spelling import one_of
from lazarus_probe.tasks.arithmetic import OPERATIONS


def read_prompts(path: str | Path) -> list[str]:
    """The `"prompt"` of each line of a file of JSON objects; other fields and blank lines are ignored.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line has no prompt (the message names file and line), or there is none.
    """
    try:
        lines = read_text(path).split("\n")  # not splitlines: JSON strings may contain other line breaks
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; JSON lines are needed") from None
    prompts = [_prompt(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not prompts:
        raise ValueError(f'{path} has no prompts; each line is to be {{"prompt": ...}}')
    return prompts


def _prompt(line: str, location: str) -> str:
    try:
        fields: Any = parse_json(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{location}: not JSON: {error.msg} at column {error.colno}") from None
    except ValueError as error:
        raise ValueError(f"{location}: not JSON that can be read: {error}") from None
    prompt = fields.get("prompt") if isinstance(fields, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise ValueError(f'{location}: no prompt; an object with "prompt", a text, is needed')
    return prompt


def arithmetic_prompts(count: int, operations: Sequence[str] = tuple(OPERATIONS), seed: int = 0) -> list[str]:
    """Questions drawn from the bundled models' training data, in the corpus's own mixture; none is held out.

    Raises:
        ValueError: no operation is given, or an unknown one.
    """
    unknown = [name for name in operations if name not in OPERATIONS]
    if unknown or not operations:
        named = ", ".join(unknown) or "(none given)"
        raise ValueError(f"unknown operation {named}; {one_of(named, OPERATIONS)}")
    rng = random.Random(f"{seed} prompts")  # noqa: S311 - drawing training data
    prompts: list[str] = []
    while len(prompts) < count:
        prompts += [line.prompt for line in corpus.sample(rng, count) if line.task in operations]
    return prompts[:count]
