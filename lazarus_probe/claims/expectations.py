"""Reading `expectations/*.yaml`, with the line of every field for the errors.

A file may take over the claims of another one, which a package has: `- include: some.package:claims.yaml`. So a study
and the tests beside it judge by the same claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from lazarus_probe.files.plain_yaml import YamlError, read_yaml


@dataclass(frozen=True)
class Fields:
    """One claim as it is written.

    Attributes:
        values: by field.
        lines: of each field, and of the claim under "".
        file: the name of the file.
    """

    values: Mapping[str, Any]
    lines: Mapping[str, int]
    file: str


def read_list(path: Path) -> list[Fields]:
    """The claims of a file and of those that it includes, not validated yet.

    Raises:
        ValueError: it cannot be read, is no YAML or no list of claims, a field stands twice in a claim, or what is
            included is not there, or includes others itself.
    """
    claims: list[Fields] = []
    for fields in _written(path):
        if set(fields.values) != {"include"}:
            claims.append(fields)
            continue
        location = f"{path.name}:{fields.lines['']}"
        for included in _written(_included(fields.values["include"], location)):
            if "include" in included.values:
                raise ValueError(f"{location}: {included.file} includes others itself; include those here")
            claims.append(included)
    return claims


def _included(name: Any, location: str) -> Path:
    package, _, file = str(name).partition(":")
    try:
        path = Path(str(files(package) / file))
    except (ImportError, ValueError, TypeError):
        path = None
    if path is None or not file or not path.is_file():
        raise ValueError(
            f"{location}: include {name!r} is no file of a package; give `some.package:claims.yaml`"
        )
    return path


def _written(path: Path) -> list[Fields]:
    try:
        document, node = (read := read_yaml(path)).value, read.node
    except YamlError as error:
        location = f"{path.name}:{error.line}" if error.line else path.name
        raise ValueError(f"{location} cannot be read as YAML: {error}") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} cannot be read as YAML: {error}") from None
    wanted = f"{path.name} must be a list of claims, each with id, statement, source and threshold"
    if not isinstance(node, yaml.SequenceNode) or not isinstance(document, list):
        raise ValueError(wanted)
    if not all(isinstance(item, dict) for item in document):
        raise ValueError(wanted)
    rows = zip(document, node.value, strict=True)
    return [Fields(item, _lines(part), path.name) for item, part in rows]


def _lines(node: yaml.MappingNode) -> dict[str, int]:
    return {"": node.start_mark.line + 1, **{key.value: key.start_mark.line + 1 for key, _ in node.value}}
