"""A pytest plugin that writes down how much CPU time the hooks of lazarus_probe take: `-p hook_timer`."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

import pytest

SPENT: Counter[str] = Counter()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put a clock around every hook that the plugin implements; what pytest does inside a wrapper is not counted."""
    for name, caller in vars(config.hook).items():
        for implementation in getattr(caller, "get_hookimpls", list)():
            if implementation.plugin_name.startswith("lazarus_probe"):
                implementation.function = timed(name, implementation.function)


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if isgeneratorfunction(function):
        return lambda *arguments: timed_steps(name, function(*arguments))

    def run(*arguments: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments)
        finally:
            SPENT[name] += time.process_time() - start

    return run


def timed_steps(name: str, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    result: Any = None
    step = steps.send
    while True:
        start = time.process_time()
        try:
            step(result)
        except StopIteration as end:
            return end.value
        finally:
            SPENT[name] += time.process_time() - start
        try:
            result, step = (yield), steps.send
        except BaseException as error:
            result, step = error, steps.throw


def pytest_unconfigure() -> None:
    total = {"total": time.process_time(), "hooks": dict(SPENT)}
    Path(os.environ["HOOK_TIMES"]).write_text(json.dumps(total), encoding="utf-8")
