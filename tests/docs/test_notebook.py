"""The notebook runs, and shows what it showed."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import notebook

BOOK = notebook.read()


@pytest.mark.nested
def test_every_cell_runs():
    """The code cells run one after the other, without Jupyter."""
    names: dict[str, object] = {}
    for number, source in enumerate(notebook.code_of(BOOK)):
        exec(compile(source, f"cell {number}", "exec"), names)


def test_outputs_are_kept():
    """It was run as a whole, in order, without an error, and shows results as tables and charts."""
    cells = [cell for cell in BOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 4
    charts = [
        output["data"]["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {})
    ]
    assert len(charts) >= 5
    titles = [ElementTree.fromstring("".join(chart))[2].text for chart in charts]
    assert len(set(titles)) == len(titles)
    assert all(titles)
    assert not [output for output in outputs if "/home" in str(output) or "/work" in str(output)]
