"""What `lazarus_probe` offers: each name once, imported when it is used, and seen by everyone who looks."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lazarus_probe
from lazarus_probe import claims, introspection, reports, subject, tasks, training
from lazarus_probe.versions import version_of

LAZY = {
    "lazarus_probe": lazarus_probe,
    "lazarus_probe.claims": claims,
    "lazarus_probe.introspection": introspection,
    "lazarus_probe.reports": reports,
    "lazarus_probe.subject": subject,
    "lazarus_probe.tasks": tasks,
    "lazarus_probe.training": training,
}
MODULES = (
    *("claims", "hooks", "interventions", "introspection", "reports"),
    *("sites", "subject", "sweep", "tasks", "training"),
)


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_is_there(package):
    """All of `__all__` can be imported and is in `dir()`."""
    module = LAZY[package]
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))


def test_a_site_may_be_a_text_wherever_it_is_asked_for():
    """Every public function that takes a site or several takes texts such as `resid_post.4` too."""
    homes = [lazarus_probe, *(importlib.import_module(f"lazarus_probe.{name}") for name in MODULES)]
    functions = {name: getattr(home, name) for home in homes for name in home.__all__}
    taken = {
        f"{name}({parameter.name})": str(parameter.annotation)
        for name, function in functions.items()
        if inspect.isfunction(function)
        for parameter in inspect.signature(function).parameters.values()
        if re.search(r"\bSite\b", str(parameter.annotation))
    }
    assert len(taken) > 15
    assert [name for name, annotation in taken.items() if "Site | str" not in annotation] == []


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_what_is_imported(package):
    """The imports above the table of homes name the same objects: what is checked is what runs."""
    module = LAZY[package]
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imports = [
        node
        for node in block.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lazarus_probe.")
    ]
    seen = {alias.name: str(node.module) for node in imports for alias in node.names}
    assert set(seen) == set(module.__all__) - {"__version__"}
    for name, home in seen.items():
        assert getattr(importlib.import_module(home), name) is getattr(module, name)


def test_public_modules_are_attributes():
    """`import lazarus_probe` alone is enough for `lazarus_probe.sites.resid_post`, and `dir()` shows the modules."""
    code = f"import lazarus_probe; [getattr(lazarus_probe, name).__all__ for name in {MODULES}]"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(MODULES) <= set(dir(lazarus_probe))


@pytest.mark.parametrize("package", sorted(set(LAZY) - {"lazarus_probe"}))
def test_no_name_is_that_of_a_module_of_its_package(package):
    """Whichever was imported first would win: the attribute is the name's, or the module's."""
    folder = Path(str(LAZY[package].__file__)).parent
    assert not set(LAZY[package].__all__) & {path.stem for path in folder.iterdir()}


def test_a_misspelt_name_is_named():
    """A name that is not there is an AttributeError that names the package."""
    with pytest.raises(AttributeError, match="module 'lazarus_probe' has no attribute 'trase'"):
        lazarus_probe.trase  # noqa: B018


def test_about_as_many_names_as_one_remembers():
    """The top has at most thirty names; everything else is in a module named after what it is about."""
    assert 20 <= len(lazarus_probe.__all__) <= 30


def test_names_that_shadow_a_users_are_in_two_modules_alone():
    """`values`, `keys` or `mean` are offered by `sites` and `interventions`, and by no other public module."""
    shadowing = {
        "embed",
        "keys",
        "logits",
        "mean",
        "noise",
        "pattern",
        "queries",
        "scale",
        "scores",
        "values",
    }
    modules = {name: set(getattr(lazarus_probe, name).__all__) for name in MODULES}
    modules["lazarus_probe"] = set(lazarus_probe.__all__)
    assert {name for name, offered in modules.items() if offered & shadowing} == {"interventions", "sites"}


def test_the_version_is_that_of_the_package():
    """`__version__` is what is installed, and nothing is read for it before it is asked for."""
    assert lazarus_probe.__version__[0].isdigit()
    code = "import sys, lazarus_probe; assert 'importlib.metadata' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_package_that_is_not_installed_is_said_to_be():
    """A checkout on the path has no version: every report of it says so in the same words."""
    assert version_of("lazarus_probe") == lazarus_probe.__version__
    assert version_of("lazarus_probe_elsewhere") == "not installed"
