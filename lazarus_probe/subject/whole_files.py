"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_aside(path: Path, text: str) -> None:
    """Write a text beside its place and rename it, so that what stands under the name is whole.

    Raises:
        OSError: it cannot be written; what stood there before still does.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
