"""Reward functions: from a Python file, or the bundled one for arithmetic; the values they return are checked."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lazarus_probe.files.paths import user_path
from lazarus_probe.tasks.rewards import arithmetic_reward
from lazarus_probe.training.grpo.settings import ARITHMETIC

RewardFunction = Callable[[str, str], float]

SHOWN = 60  # characters of a prompt or a response in a message


class RewardError(ValueError):
    """A reward cannot be loaded or computed: no such file or function, or it does not return a number."""


@dataclass(frozen=True)
class Reward:
    """A function that scores responses.

    Attributes:
        name: as in messages.
        function: called with the prompt and the response.
        prompts: the training prompts, if the reward's file defines them.
    """

    name: str
    function: RewardFunction
    prompts: tuple[str, ...] | None = None

    def __call__(self, prompt: str, response: str) -> float:
        """The reward of one response.

        Raises:
            RewardError: the function raises, or does not return a finite number.
        """
        try:
            value: Any = self.function(prompt, response)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise self._error(f"raised {type(error).__name__}: {reason}", prompt, response) from error
        if not isinstance(value, Real | np.bool_):
            kind = "None" if value is None else f"a {type(value).__name__}"
            raise self._error(f"returned {kind} where a number is needed", prompt, response)
        if not math.isfinite(value):
            raise self._error(f"returned {value} where a finite number is needed", prompt, response)
        return float(value)

    def _error(self, fault: str, prompt: str, response: str) -> RewardError:
        return RewardError(
            f"{self.name}: {fault}, for prompt {_short(prompt)} and response {_short(response)}"
        )


def load_reward(name: str | Path) -> Reward:
    """The reward `arithmetic`, or that of a Python file.

    The file defines `reward_fn(prompt, response) -> float` and may define `get_prompts() -> list[str]`.
    The file is executed: load only files that you trust.

    Raises:
        RewardError: there is no such file, it fails when run, or it lacks the function.
    """
    if name == ARITHMETIC:
        return Reward(ARITHMETIC, arithmetic_reward)
    path = user_path(name)
    if not path.is_file():
        raise RewardError(
            f"reward {str(name)!r}: there is no such file; give a Python file, or {ARITHMETIC!r}"
        )
    module = _run(path)
    function = getattr(module, "reward_fn", None)
    if not callable(function):
        raise RewardError(f"{path} defines no function reward_fn(prompt, response); add one")
    return Reward(f"{path.name}: reward_fn", function, _prompts(module, path))


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_lazarus_reward_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise RewardError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RewardError(f"{path} fails when it is run: {type(error).__name__}: {reason}") from error
    return module


def _prompts(module: ModuleType, path: Path) -> tuple[str, ...] | None:
    if not hasattr(module, "get_prompts"):
        return None
    try:
        prompts = module.get_prompts()
    except Exception as error:
        raise RewardError(f"{path}: get_prompts raised {type(error).__name__}: {error}") from error
    if not isinstance(prompts, Sequence) or isinstance(prompts, str):
        raise RewardError(
            f"{path}: get_prompts returned a {type(prompts).__name__}; a list of texts is needed"
        )
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt:
            raise RewardError(f"{path}: get_prompts returned {prompt!r} among its prompts; only texts are")
    return tuple(prompts)


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
