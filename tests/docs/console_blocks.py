"""Runs the `console` blocks of a page of docs/ again, and puts what they print in place of what stands there.

python tests/docs/console_blocks.py guide

Code blocks that begin with a comment naming a file are that file, for the commands that follow.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n\$ (?P<line>[^\n]*)\n.*?```", re.DOTALL)
NOISE = re.compile(r" in \d+(\.\d+)?s(?: \([\d:]+\))?|reports/[\w.-]+")
# A heading, as wide as it is whatever was left out of it.
RULED = re.compile(r"^=+ (.+?) =+$", re.MULTILINE)
WIDTH = 110
# What pytest says of the machine that it runs on.
HEADER = re.compile(r"^(platform|benchmark:|rootdir:|plugins:|lazarus_probe: models).*\n", re.MULTILINE)


def files_of(page: str) -> dict[str, str]:
    """The files that a page shows, by name."""
    return dict(FILE.findall(page))


def lines_of(page: str) -> list[str]:
    """The commands of a page."""
    return [match["line"] for match in CONSOLE.finditer(page)]


def write_files(page: str, folder: Path) -> None:
    """Put the files that a page shows into a folder."""
    for name, text in files_of(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def run(line: str) -> str:
    """What a command prints, run by this Python; times and names of runs are left out."""
    program, *arguments = shlex.split(line)
    module = {
        "pytest": "pytest",
        "lazarus": "lazarus_probe.cli.lazarus",
        "circuit": "lazarus_probe.cli.circuit",
    }
    command = [sys.executable, "-m", module[program], *arguments]
    environment = os.environ | {"COLUMNS": str(WIDTH), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode not in (0, 1):  # 1: a claim that is not supported
        raise SystemExit(f"{line}\nends with exit code {done.returncode}: {done.stdout}{done.stderr}")
    text = HEADER.sub("", done.stdout)
    text = NOISE.sub(lambda found: "reports/RUN" if "/" in found[0] else "", text)
    return RULED.sub(lambda found: f" {found[1]} ".center(WIDTH, "="), text)


def rendered(page: str) -> str:
    """The page with what its commands print now."""

    def replace(match: re.Match[str]) -> str:
        text = "\n".join(line.rstrip() for line in run(match["line"]).rstrip().splitlines())
        return f"```console\n$ {match['line']}\n{text}\n```"

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_files(page, Path(folder))
        return CONSOLE.sub(replace, page)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        file = ROOT / "docs" / f"{name}.md"
        file.write_text(rendered(file.read_text(encoding="utf-8")), encoding="utf-8")
