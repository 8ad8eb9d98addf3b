"""Reading `expectations/*.yaml`, with the line of every field for the errors.

A file may take over the claims of another one, which a package has: `- include: some.package:claims.yaml`. So a study
and the tests next to it judge by the same claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from lazarus_probe.claims.claim import Claim, ClaimError, make_claim
from lazarus_probe.files.plain_yaml import YamlError, read_yaml
from lazarus_probe.spelling import nearest, one_of


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


@cache
def read_claims(folder: Path) -> Mapping[str, Claim]:
    """All claims of the YAML files in a folder, by id.

    Raises:
        ClaimError: a file is no list of claims, a claim is invalid, or an id stands twice.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe.claims import read_claims
        >>> claims = read_claims(Path("expectations"))
        >>> claims["answers-products"].threshold
        0.8
    """
    claims: dict[str, Claim] = {}
    locations: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        for fields in _list_in(path):
            claim = make_claim(fields.values, fields.file, fields.lines)
            location = f"{fields.file}:{fields.lines['']}"
            if claim.id in claims:
                raise ClaimError(
                    f"{location}: claim {claim.id!r} is declared twice, first in {locations[claim.id]}"
                )
            claims[claim.id], locations[claim.id] = claim, location
    for claim in claims.values():
        _check_tests(claim, claims, locations[claim.id])
    return claims


def _check_tests(claim: Claim, claims: Mapping[str, Claim], location: str) -> None:
    tests = {*claim.controls, *claim.generalises_over, *claim.parts} | claims.keys() - {claim.id}
    for assumption in claim.assumes:
        by = assumption.tested_by
        if by and by not in tests:
            close = nearest(by, tests)
            raise ClaimError(
                f"{location}: claim {claim.id!r}: an assumption is tested by {by!r}, which is no control, unit or part "
                f"of it, and no other claim of its folder{f'; did you mean {close!r}?' if close else ''}"
            )


def _list_in(path: Path) -> list[Fields]:
    try:
        return read_list(path)
    except ValueError as error:
        raise ClaimError(str(error)) from None


def find_claim(claim_id: str, test_file: Path) -> Claim:
    """The claim of that id from `expectations/` next to a test file."""
    folder = test_file.parent / "expectations"
    claims = read_claims(folder)
    if claim_id not in claims:
        if not claims:
            raise ClaimError(
                f"{test_file.name}: claim {claim_id!r} is not pre-registered: {folder.name}/ next to it has no YAML "
                "file of claims"
            )
        raise ClaimError(
            f"{test_file.name}: claim {claim_id!r} is not pre-registered; {one_of(str(claim_id), claims)}"
        )
    return claims[claim_id]


def family_of(claim: Claim, test_file: Path, num_layers: int) -> dict[str, int]:
    """The claims declared in a claim's family, next to a test file, with how many cases each has on a model."""
    declared = read_claims(test_file.parent / "expectations")
    members = {member.id: member for member in declared.values() if member.family == claim.family} | {
        claim.id: claim
    }
    return {name: member.count(num_layers) for name, member in sorted(members.items())}


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
