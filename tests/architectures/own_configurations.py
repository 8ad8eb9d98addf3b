"""Checks hooks on the tiny configurations that mlx-lm tests its models with, as they lie in its source distribution.

make configurations
python tests/architectures/own_configurations.py rwkv7 talkie
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lazarus_probe  # noqa: F401 - chooses the BLAS, which must happen before mlx is imported

import mlx.core as mx  # isort: skip

from lazarus_probe.hooks.model_check import self_check
from lazarus_probe.subject import Subject, UnsupportedArchitecture

TESTS = "tests/test_models.py"
TEST, CONFIGURATIONS = "test_all_models", "test_configs"


def source() -> str:
    """The text of mlx-lm's tests, of the version that is installed; its package index is the one that pip uses."""
    wanted = f"mlx-lm=={version('mlx-lm')}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "mlx-lm"]
        subprocess.run([*command, wanted, "-d", folder], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as file:
            (name,) = (each for each in file.getnames() if each.endswith(f"/{TESTS}"))
            member = file.extractfile(name)
            assert member is not None
            return member.read().decode()


def configurations(text: str) -> list[dict[str, Any]]:
    """The list that the test assigns first. It holds sums and products of lists, and is evaluated without any names."""
    tests = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef))
    body = next(test for test in tests if test.name == TEST).body
    listed = next(
        node.value
        for node in body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == CONFIGURATIONS
    )
    found: list[dict[str, Any]] = eval(compile(ast.Expression(listed), TESTS, "eval"), {"__builtins__": {}})
    return found


def check(configuration: dict[str, Any]) -> tuple[bool, str]:
    """Whether a model of a configuration passes its self-check, and what is to say of it."""
    mx.random.seed(0)
    module = importlib.import_module(f"mlx_lm.models.{configuration['model_type']}")
    model = module.Model(module.ModelArgs.from_dict(configuration))
    model.eval()
    mx.eval(model.parameters())
    try:
        result = self_check(Subject.from_model(model))
    except UnsupportedArchitecture as error:
        return False, f"refused: {error}"
    failed = [f"{one.name}: {one.note}" for one in result.failed]
    empty = [f"{one.name}: {one.note}" for one in result.checks if one.holds is None]
    return result.ok, "; ".join([*failed, *empty])


def lines(names: Sequence[str]) -> Iterator[bool]:
    """Check the configurations of those models, or all, and print a line of each."""
    for number, configuration in enumerate(configurations(source())):
        name = configuration["model_type"]
        if names and name not in names:
            continue
        began = time.process_time()
        ok, words = check(configuration)
        seconds = time.process_time() - began
        print(f"{number:3} {name:24} {'ok' if ok else 'FAILED':7} {seconds:5.1f} CPU s  {words}", flush=True)
        yield ok


def main() -> int:
    """The exit code: 1 where one of them does not pass."""
    passed = list(lines(sys.argv[1:]))
    print(f"{sum(passed)} of {len(passed)} pass")
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main())
