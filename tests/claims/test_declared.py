"""One way to a verdict: a claim is declared once, in YAML, and commands, analyses and hypotheses judge by that."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.declared import FOLDER, declared, with_threshold
from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.claims.judging import at_threshold, beyond_largest_class, by_option
from lazarus_probe.claims.library import declared_claims

ROOT = Path(__file__).parents[2]
PACKAGE, HYPOTHESES = ROOT / "lazarus_probe", ROOT / "hypotheses"
JUDGES = (
    "cli",
    "circuit",
    "introspection",
    "experiments",
)  # what words verdicts, in a command or an analysis
FIELDS = {"id", "statement", "threshold"}


@cache
def loaded(path: Path) -> Any:
    """What a YAML file holds; the repository's are read once for all tests."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@cache
def parsed(path: Path) -> ast.Module:
    """A Python file of the package, parsed once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"))


def written(*folders: Path) -> list[str]:
    """The id of every claim in the YAML files of some folders, as often as it is written."""
    ids = []
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        document = loaded(path)
        rows = document if isinstance(document, list) else []
        ids += [row["id"] for row in rows if isinstance(row, dict) and set(row) >= FIELDS]
    return ids


def repeated(ids: list[str]) -> list[str]:
    return [name for name, count in Counter(ids).items() if count > 1]


def test_an_id_is_written_once_in_the_repository(tmp_path: Path):
    """One id has one meaning: no two claims of the package and the hypotheses share it."""
    ids = written(PACKAGE, HYPOTHESES, ROOT / "tests", ROOT / "docs")
    assert set(read_claims(FOLDER)) | set(declared_claims()) <= set(ids)
    assert repeated(ids) == []
    (tmp_path / "again.yaml").write_text(yaml.safe_dump([{"id": ids[0], "statement": "s", "threshold": 0.1}]))
    assert repeated(written(PACKAGE, HYPOTHESES, tmp_path)) == [ids[0]]


def test_a_hypothesis_takes_over_the_very_claims_of_a_command():
    """What both ask is one claim: what the expectations include has the hash that the command judges by."""
    ours, theirs = read_claims(FOLDER), declared_claims()
    shared = {
        row["include"].partition(":")[2]
        for path in HYPOTHESES.rglob("expectations/*.yaml")
        for row in yaml.safe_load(path.read_text(encoding="utf-8"))
        if str(row.get("include", "")).startswith("lazarus_probe.claims.declared:")
    }
    names = [name for file in sorted(shared) for name in written_in(FOLDER / file)]
    assert "task-type-in-embeddings" in names
    assert [theirs[name].hash for name in names] == [ours[name].hash for name in names]
    assert set(ours) & set(theirs) == set(names)


def written_in(path: Path) -> list[str]:
    return [row["id"] for row in yaml.safe_load(path.read_text(encoding="utf-8"))]


def sources(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    """The Python files of some folders of the package, parsed."""
    for path in (path for folder in folders for path in sorted((PACKAGE / folder).rglob("*.py"))):
        yield str(path.relative_to(PACKAGE)), parsed(path)


def claims_made(tree: ast.AST) -> list[int]:
    """The lines that make a claim without YAML."""
    names = {"Claim", "make_claim"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for part in [node.func]
        if (isinstance(part, ast.Name) and part.id in names)
        or (isinstance(part, ast.Attribute) and part.attr in names)
        or (isinstance(part, ast.Attribute) and ast.unparse(part.value) == "Claim")
    ]


def test_no_claim_is_made_outside_the_claims():
    """A claim comes from YAML: nothing else in the package makes one, but the plugin from a user's own marker."""
    assert claims_made(ast.parse("from a import Claim\nClaim(id='x')\nClaim.model_validate({})")) == [2, 3]
    rooms = [
        path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name not in ("claims", "plugin")
    ]
    found = [f"{name}:{line}" for name, tree in sources(*rooms) for line in claims_made(tree)]
    found += [
        f"{path.name}:{line}"
        for path in sorted(HYPOTHESES.rglob("*.py"))
        for line in claims_made(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def thresholds(tree: ast.Module) -> list[int]:
    """The lines that hold something against a share: a number between 0 and 1, or a constant that is one."""
    named = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and any(map(is_share, ast.walk(node.value)))
        for name in node.targets
        for target in ast.walk(name)
        if isinstance(target, ast.Name)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if is_share(side) or (isinstance(side, ast.Name) and side.id in named)
    ]


def is_share(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < abs(node.value) < 1


def judges(tree: ast.Module) -> bool:
    """Whether a file judges: it imports from `claims`."""
    return any(
        isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lazarus_probe.claims")
        for node in ast.walk(tree)
    )


def test_no_threshold_stands_beside_a_verdict():
    """Commands, and analyses that judge, compare nothing with a share of their own: YAML or an option has it."""
    seen = "LEAST = 0.1\nMOST = 2\nfound = score > LEAST or 0.9 <= score or score > MOST"
    assert thresholds(ast.parse(seen)) == [3, 3]
    found = [
        f"{name}:{line}"
        for name, tree in sources(*JUDGES)
        if name.startswith(("cli/", "circuit/")) or judges(tree)
        for line in thresholds(tree)
    ]
    assert found == []


def test_every_declared_claim_is_judged_by_something():
    """No claim is declared for nothing: each id stands in the code of a command or an analysis."""
    strings = {
        node.value
        for _, tree in sources(*JUDGES)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [name for name in read_claims(FOLDER) if name not in strings] == []


def test_an_unknown_claim_is_named_with_those_there_are():
    """A claim that is not declared is an error, not a claim with thresholds from elsewhere."""
    with pytest.raises(ClaimError, match=r"claim 'none-such' is not declared; .*give one of .*class-probe"):
        declared("none-such")


def test_a_threshold_of_an_option_is_named():
    """The declared claim stands where the option says the same; another threshold is said, with the declared one."""
    usual = declared("property-emerges")
    assert at_threshold(usual.id, usual.threshold) is usual
    assert by_option(usual.id, usual.threshold, "--threshold") == ""
    other = at_threshold(usual.id, 0.9)
    assert (other.id, other.threshold, other.margin) == (usual.id, 0.9, usual.margin)
    assert other.hash != usual.hash
    assert by_option(usual.id, 0.9, "--threshold") == " (by --threshold; 0.75 is declared)"
    with pytest.raises(ClaimError, match="threshold"):
        with_threshold(usual, 1.5)


@pytest.mark.parametrize(
    ("labels", "threshold", "effect"),
    [("aabb", 0.5, 0.75), ("aaab", 0.75, 0.875), ("aabbcc", 1 / 3, 2 / 3)],
)
def test_chance_is_the_share_of_the_largest_class(labels, threshold, effect):
    """The threshold of a probe is what is right without looking, and what is expected lies half way to 1."""
    claim = beyond_largest_class("class-probe", list(labels))
    assert (claim.threshold, claim.effect) == pytest.approx((threshold, effect))
    assert (claim.margin, claim.controls) == (
        declared("class-probe").margin,
        declared("class-probe").controls,
    )
