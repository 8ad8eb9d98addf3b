"""A claim as data: the statement, its source, and the thresholds set before anyone looks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

Kind = Literal["decodability", "necessity", "sufficiency", "absence", "training_effect"]


class ClaimError(ValueError):
    """A claim that cannot be tested as it is written."""


class Claim(BaseModel):
    """What is claimed, and what would support or refute it.

    `threshold` is on the score: at least it for most kinds, at most it for `absence`. `margin` is the
    smallest gain over a control that counts; for `absence`, over the score by the positive control. `family` names
    the claims that belong together; a claim without one is a family of its own.
    `minimum_groups` is the number of independent units (operand families, templates, seeds) below which
    the verdict is inconclusive.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    statement: str = Field(min_length=1)
    source: str = Field(min_length=1)
    family: str = Field(default_factory=lambda given: given.get("id", ""), min_length=1)
    kind: Kind
    threshold: float
    margin: float = Field(default=0.05, gt=0)
    controls: tuple[str, ...] = Field(min_length=1)
    minimum_groups: int = Field(default=10, ge=2)
    alpha: float = Field(default=0.05, gt=0, lt=1)
    parameters: Mapping[str, JsonValue] = {}

    @property
    def hash(self) -> str:
        """Of everything pre-registered: a report keeps it, so that a moved threshold shows."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_claim(fields: Mapping[str, Any], where: str) -> Claim:
    """Validate a claim.

    Raises:
        ClaimError: names the place, the field and what is wrong, in one line.
    """
    try:
        return Claim.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        raise ClaimError(
            f"{where}: claim {fields.get('id', '?')!r}: {_wrong(first['type'], first)}"
        ) from None


def _wrong(kind: str, error: Mapping[str, Any]) -> str:
    name = ".".join(map(str, error["loc"]))
    if name == "controls" and kind in ("missing", "too_short"):
        return "it has no controls; a claim needs at least one"
    if kind == "missing":
        return f"field {name!r} is missing"
    if kind == "extra_forbidden":
        return f"field {name!r} is unknown; the fields are {', '.join(Claim.model_fields)}"
    return f"field {name!r}: {error['msg']}, not {error['input']!r}"


@cache
def read_claims(folder: Path) -> Mapping[str, Claim]:
    """All claims of the YAML files in a folder, by id.

    Raises:
        ClaimError: a file is no list of claims, a claim is invalid, or an id stands twice.
    """
    claims: dict[str, Claim] = {}
    for path in sorted(folder.glob("*.yaml")):
        for fields in _read_list(path):
            claim = make_claim(fields, path.name)
            if claim.id in claims:
                raise ClaimError(f"{path.name}: claim {claim.id!r} is declared twice")
            claims[claim.id] = claim
    return claims


def _read_list(path: Path) -> list[Mapping[str, Any]]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ClaimError(f"{path.name} cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise ClaimError(
            f"{path.name} must be a list of claims, each with id, statement, source and threshold"
        )
    return document


def find_claim(claim_id: str, beside: Path) -> Claim:
    """The claim of that id from `expectations/` beside a test file."""
    folder = beside.parent / "expectations"
    claims = read_claims(folder)
    if claim_id not in claims:
        known = ", ".join(claims) or f"none, for {folder.name}/ beside it has no YAML file"
        raise ClaimError(f"{beside.name}: claim {claim_id!r} is not pre-registered; known: {known}")
    return claims[claim_id]
