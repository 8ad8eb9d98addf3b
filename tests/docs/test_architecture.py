"""The page for contributors names what is there, and the files that other programs read are what those expect."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_rooms import ROOMS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MADE_BY_A_RUN = {"summary.md"}
PLACES = (ROOT, ROOT / "lazarus_probe")
FILE = re.compile(r"`([\w./-]+(?:/|\.(?:py|md|yaml|yml|toml|cff|txt)))`")
LINK = re.compile(r"\]\(([^)#:]+)\)")


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_every_room_has_its_row():
    """The table has each room once, in the order that tests/test_rooms.py holds."""
    rows = re.findall(r"^\| `([\w/.]+)` \|", PAGE, re.MULTILINE)
    assert tuple(row.removesuffix("/").removesuffix(".py").replace("/", ".") for row in rows) == ROOMS


@pytest.mark.parametrize("page", [PAGE, GUIDE], ids=["architecture", "contributing"])
def test_every_file_named_exists(page: str):
    """Each file or folder that a page names is in the repository or in the package."""
    named = set(FILE.findall(page)) - MADE_BY_A_RUN
    assert len(named) > 10
    missing = [name for name in sorted(named) if not any((place / name).exists() for place in PLACES)]
    assert missing == []


@pytest.mark.parametrize(
    ("page", "folder"), [(PAGE, "docs"), (GUIDE, ".")], ids=["architecture", "contributing"]
)
def test_every_link_leads_somewhere(page: str, folder: str):
    """Links between pages lead to files that exist."""
    assert [link for link in LINK.findall(page) if not (ROOT / folder / link).exists()] == []


def test_every_target_named_is_one_of_make():
    """The targets that CONTRIBUTING.md names are in the Makefile."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", GUIDE, re.MULTILINE)) <= set(targets)


def test_workflow_runs_the_checks_with_few_rights():
    """CI runs `.ci/run` on the oldest and a newer Python, and may read the repository and nothing else."""
    workflow = read_yaml(".github/workflows/ci.yml")
    job = workflow["jobs"]["ci"]
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])
    assert f">={job['strategy']['matrix']['python'][0]}" == PROJECT["requires-python"]
    assert workflow["permissions"] == {"contents": "read"}
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)


def test_hooks_use_the_tools_of_the_project():
    """Every pre-commit hook runs a tool of .venv, whose version constraints.txt decides."""
    hooks = [hook for source in read_yaml(".pre-commit-config.yaml")["repos"] for hook in source["hooks"]]
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "mypy"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)


def test_citation_says_what_the_project_says():
    """CITATION.cff has the fields that its schema (1.2.0) requires, and version and licence of pyproject.toml."""
    citation = read_yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"] == PROJECT["name"]
    assert citation["authors"] == [{"name": "The lazarus_probe authors"}]
    assert citation["authors"][0]["name"] in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
