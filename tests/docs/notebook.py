"""Runs docs/introspection.ipynb again and keeps what its cells show.

python tests/docs/notebook.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "introspection.ipynb"


def code_of(book: dict[str, Any]) -> list[str]:
    """The source of each code cell."""
    return ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]


def read() -> dict[str, Any]:
    """The notebook as data."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def run() -> None:
    """Run it in a fresh kernel; a cell that raises stops here, and the file stays as it was."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(FILE, as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", record_timing=False).execute()
    book.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [_kept(output) for output in cell.outputs if output.get("name") != "stderr"]
    aside = FILE.with_suffix(".partial")
    nbformat.write(book, aside)
    aside.replace(FILE)


def _kept(output: Any) -> Any:
    """An output without the plain text of what is shown as a table."""
    data = output.get("data", {})
    if "text/html" in data:
        data["text/plain"] = data["text/plain"].partition("(")[0]
    return output


if __name__ == "__main__":
    run()
