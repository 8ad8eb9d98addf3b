"""Every public name has one example in its docstring, which runs as it is written."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import api_page
import doc_examples

PUBLIC = {entry.path: entry.value for group in api_page.GROUPS for entry in group.entries()}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What examples start from, in a folder with the files that some of them read."""
    folder = tmp_path_factory.mktemp("examples")
    found = doc_examples.namespace()
    doc_examples.write_files(folder, found["subject"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield found


def example_of(path: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(inspect.getdoc(PUBLIC[path]) or "")


@pytest.mark.nested
@pytest.mark.parametrize("path", PUBLIC)
def test_the_example_gives_what_it_shows(path: str, names: dict[str, Any]):
    """The statements of the example run in order, and print what stands below them."""
    test = doctest.DocTest(example_of(path), dict(names), path, None, None, None)
    printed: list[str] = []
    failed = doctest.DocTestRunner().run(test, out=printed.append).failed
    assert not failed, "".join(printed)


@pytest.mark.parametrize("path", PUBLIC)
def test_the_example_uses_the_public_name(path: str):
    """There is one, in a section of its own; it uses the name, and imports the package's public modules alone."""
    assert (inspect.getdoc(PUBLIC[path]) or "").count("\nExample:\n") == 1
    source = "".join(example.source for example in example_of(path))
    tree = ast.parse(source)
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in imported if str(module).startswith("lazarus_probe")} <= set(api_page.MODULES)
    assert re.search(rf"\b{PRODUCED.get(path, path.rpartition('.')[2])}\b", source)
    assert not re.search(r"doctest:|# noqa", source)


# What is returned by another function, never made by its own name.
PRODUCED = {
    "subject.Anatomy": "anatomy",
    "hooks.Trace": "trace",
    "hooks.Captures": "captures",
    "hooks.SelfCheck": "self_check",
    "sweep.Route": "route_of",
    "introspection.AnalysisResult": "ModelAnalyzer",
    "reports.Chart": "grid_chart",
    "reports.Run": "find_run",
}
