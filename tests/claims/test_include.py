"""Claims that a file of expectations takes over from a package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.expectations import read_claims

CLAIM = "- {id: b, statement: s, source: t, kind: absence, threshold: 0.1, controls: [c]}\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `a_study` that can be imported."""
    folder = tmp_path / "site" / "a_study"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "a_study", raising=False)
    return folder


def expectations(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "here.yaml").write_text(text)
    return folder


def test_included_claims_are_those_of_the_folder(package: Path, tmp_path: Path):
    """A file's own claims and those it includes are read alike, in the order they are written."""
    (package / "claims.yaml").write_text(CLAIM)
    own = CLAIM.replace("id: b", "id: a")
    found = read_claims(expectations(tmp_path / "one", f"{own}- include: a_study:claims.yaml\n"))
    assert list(found) == ["a", "b"]
    assert found["b"].hash == read_claims(expectations(tmp_path / "two", CLAIM))["b"].hash


@pytest.mark.parametrize(
    ("included", "text", "message"),
    [
        ("a_study:none.yaml", CLAIM, r"here\.yaml:1: include 'a_study:none\.yaml' is no file of a package"),
        ("no_such_study:claims.yaml", CLAIM, r"here\.yaml:1: include 'no_such_study:claims\.yaml' is no file"),
        ("a_study", CLAIM, r"include 'a_study' is no file of a package; give `some\.package:claims\.yaml`"),
        ("3", CLAIM, r"include 3 is no file of a package"),
        ("a_study:claims.yaml", "- include: a_study:claims.yaml\n", r"claims\.yaml includes others itself"),
        ("a_study:claims.yaml", CLAIM.replace("0.1", "high"), r"claims\.yaml:1: claim 'b': field 'threshold'"),
        ("a_study:claims.yaml", CLAIM + CLAIM, r"claims\.yaml:2: claim 'b' is declared twice, first in claims\.yaml:1"),
    ],
)  # fmt: skip
def test_what_cannot_be_included_is_named(package: Path, tmp_path: Path, included, text, message):
    """Errors name the file that is wrong: the one that includes, or the one that is included."""
    (package / "claims.yaml").write_text(text)
    with pytest.raises(ClaimError, match=message):
        read_claims(expectations(tmp_path / "one", f"- include: {included}\n"))
