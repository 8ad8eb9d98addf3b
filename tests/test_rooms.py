"""The rooms of the package, from the lowest up: none imports from one above it, and there is no circle of modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import lazarus_probe

ROOT = Path(str(lazarus_probe.__file__)).parent
PACKAGE = "lazarus_probe"
# Deferred imports and those of type checkers count as well: who reads a module follows them, too.
ROOMS = (
    *("lazy", "spelling", "plain", "untrusted", "tables", "warn", "versions", "clock", "backend"),
    *(
        "taps",
        "files",
        "tasks",
        "organisms",
        "statistics",
        "checkpoints",
        "anatomy",
        "adapters",
        "subject",
        "hooks",
    ),
    *("sites", "interventions", "sweep", "claims"),
    *("introspection.generation", "asking", "introspection.directions", "introspection.lens"),
    *("introspection.capture", "introspection.vocabulary", "introspection.probing", "introspection.ablation"),
    *(
        "introspection.patching",
        "introspection.steering",
        "introspection.geometry",
        "introspection.attribution",
        "introspection.circuits",
    ),
    "introspection.editing",
    *("introspection.experts", "introspection.studies", "introspection"),
    *("training", "experiments", "circuit", "reports", "plugin", "mutants", "cli"),
)
FILES_OF_A_ROOM = 24


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, without the package's own."""
    files = {file.relative_to(ROOT).with_suffix("").as_posix(): file for file in ROOT.rglob("*.py")}
    return {name.replace("/", ".").removesuffix(".__init__"): file for name, file in sorted(files.items())}


@cache
def imports() -> dict[str, frozenset[str]]:
    """What each module imports of the package."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE}."):
                home = str(node.module).removeprefix(PACKAGE).removeprefix(".")
                inner = {f"{home}.{alias.name}".removeprefix(".") for alias in node.names}
                found[name] |= {each if each in modules() else home or "__init__" for each in inner}
    return {name: frozenset(targets - {name}) for name, targets in found.items()}


def room_of(module: str) -> str | None:
    """The room that a module is in; None for the package's own `__init__`, which offers names of all rooms."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default=None)


def test_every_module_is_in_a_room():
    """A new folder has a place in the order of rooms."""
    assert [name for name in modules() if room_of(name) is None] == ["__init__"]


def test_imports_point_down():
    """No room imports from one above it."""
    upward = [
        f"{name} imports {target}"
        for name, targets in imports().items()
        for target in sorted(targets)
        if (here := room_of(name)) and (there := room_of(target)) and ROOMS.index(there) > ROOMS.index(here)
        if name != "introspection"  # which offers the names of its rooms
    ]
    assert not upward


def test_no_modules_import_each_other():
    """There is an order in which all modules can be read, each after those that it imports."""
    left = {name: set(targets) & set(modules()) for name, targets in imports().items()}
    left = {name: left.get(name, set()) for name in modules()}
    while ready := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, f"a circle among {sorted(left)}"


def test_no_room_is_a_heap():
    """A folder has about twenty files at most."""
    counts = {folder: len(list(folder.glob("*.py"))) for folder in ROOT.rglob("*") if folder.is_dir()}
    assert {
        str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > FILES_OF_A_ROOM
    } == {}
