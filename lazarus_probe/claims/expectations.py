"""Reading `expectations/*.yaml`, with the line of every field for the errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Fields:
    """One claim as it is written.

    Attributes:
        values: by field.
        lines: of each field, and of the claim under "".
    """

    values: Mapping[str, Any]
    lines: Mapping[str, int]


def read_list(path: Path) -> list[Fields]:
    """The claims of a file, not validated yet.

    Raises:
        ValueError: it cannot be read, is no YAML or no list of claims, or a field stands twice in a claim.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as YAML: {_in_one_line(error)}") from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        document = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path.name}:{mark.line + 1}" if mark else path.name
        raise ValueError(f"{place} cannot be read as YAML: {_in_one_line(error)}") from None
    finally:
        loader.dispose()
    if node is None or not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise ValueError(
            f"{path.name} must be a list of claims, each with id, statement, source and threshold"
        )
    return [Fields(item, _lines(part, path)) for item, part in zip(document, node.value, strict=True)]


def _lines(node: yaml.MappingNode, path: Path) -> dict[str, int]:
    lines = {"": node.start_mark.line + 1}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in lines:
            raise ValueError(
                f"{path.name}:{line}: field {key.value!r} stands twice, first on line {lines[key.value]}"
            )
        lines[key.value] = line
    return lines


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
