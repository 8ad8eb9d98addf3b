"""A command starts fast: help and errors import nothing that is only needed to run a model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {
    "mlx.core",
    "mlx_lm",
    "numpy",
    "scipy",
    "sklearn",
    "transformers",
    "matplotlib",
    "safetensors",
    "rich.table",
}
# Every command's help, in one process: nothing of it may have imported what is heavy.
HELP = """
import contextlib, io, sys
import typer
from lazarus_probe.cli import circuit, lazarus

def show(command, name, words):
    context = command.context_class(command, info_name=name)
    command.get_help(context)
    for each in getattr(command, "list_commands", lambda _: [])(context):
        show(command.get_command(context, each), each, words)
    words.append(name)

for name, app in (("lazarus", lazarus.app), ("circuit", circuit.app)):
    words = []
    show(typer.main.get_command(app), name, words)
    print(len(words))
print(sorted(set(sys.modules) & {heavy!r}))
"""
ERRORS = """
import contextlib, io, sys
from lazarus_probe.cli import circuit, lazarus
lines = [
    (lazarus, ["introspect", "patch", "-m", "organism"]),
    (lazarus, ["introspect", "patch", "-m", "organism", "--source", "a", "--target", "b", "--layers", "9"]),
    (lazarus, ["introspect", "analyze", "-m", "organism", "-p", ""]),
    (lazarus, ["introspect", "generate", "-m", "no-such-model", "-p", "a|"]),
    (lazarus, ["introspect", "ablate", "--nonsense"]),
    (circuit, ["collect", "-m", "organism", "-d", "no-such-file", "-o", "x"]),
]
for program, arguments in lines:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert program.main(arguments) == 2, arguments
    assert said.getvalue().count("\\n") == 1, said.getvalue()
print(sorted(set(sys.modules) & {heavy!r}))
"""  # fmt: skip


def lines_of(code: str) -> list[str]:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{heavy!r}", repr(HEAVY))], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_help_of_every_command_imports_nothing_heavy():
    """The help of all commands together loads neither mlx nor NumPy nor a plotting library."""
    lazarus, circuit, heavy = lines_of(HELP)
    assert int(lazarus) > 40
    assert int(circuit) > 8
    assert heavy == "[]"


def test_errors_before_the_model_import_nothing_heavy():
    """What is wrong with options alone is said without loading anything that computes."""
    assert lines_of(ERRORS) == ["[]"]


@pytest.mark.parametrize(
    ("words", "completed"),
    [("lazarus introspect pat", ["patch", "path-patch"]), ("lazarus anatomy -m organism-e", ["organism-early"])],
)  # fmt: skip
def test_a_shell_completes_commands_and_models(words: str, completed: list[str]):
    """What `--install-completion` installs asks the program itself, and it knows commands and bundled models."""
    asked = {"_LAZARUS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "from lazarus_probe.cli.lazarus import main; raise SystemExit(main())"]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert set(completed[:1]) <= set(done.stdout.split()) <= set(completed)
