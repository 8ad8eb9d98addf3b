"""The claims that come with the package: `hypotheses/` of a clone, which a wheel holds as `lazarus_probe/hypotheses/`.

A topic is a folder of them, with a README.md whose first line after the heading says what it holds.
"""

from __future__ import annotations

import ast
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.expectations import read_claims, read_list
from lazarus_probe.spelling import one_of

PACKAGE = Path(__file__).parents[1]
# What a test file needs next to it: its claims' declarations, and fixtures.
EXPECTATIONS, FIXTURES = "expectations", "conftest.py"
COSTS = "costs.json"  # by model the seconds of claims, written by tests/hypotheses/costs.py


@dataclass(frozen=True)
class LibraryClaim:
    """A claim that comes with the package.

    Attributes:
        claim: what is declared.
        topic: the folder it is in.
        file: the file whose test decides it.
        test: the name of that test.
        trains: whether the test is marked `training`.
    """

    claim: Claim
    topic: str
    file: Path
    test: str
    trains: bool


def library_folder(package: Path = PACKAGE) -> Path:
    """Where the claims are: in the installed package, or next to it in a clone.

    Raises:
        ClaimError: they are in neither place.
    """
    for folder in (package / "hypotheses", package.parent / "hypotheses"):
        if folder.is_dir():
            return folder
    raise ClaimError(f"no claims in {package / 'hypotheses'}: install lazarus_probe again")


def declared_claims(folder: Path | None = None) -> dict[str, Claim]:
    """By id every claim that is declared in the topics, whether it has a test or not.

    Raises:
        ClaimError: a claim is invalid, or its id stands in two topics.
    """
    claims: dict[str, Claim] = {}
    for expectations in sorted((folder or library_folder()).rglob(EXPECTATIONS)):
        of_topic = read_claims(expectations)
        if twice := claims.keys() & of_topic.keys():
            raise ClaimError(
                f"claim {min(twice)!r} is declared in two topics, {expectations.parent.name} the second"
            )
        claims |= of_topic
    return claims


def topics(folder: Path | None = None) -> dict[str, str]:
    """By topic what it holds, as the first line below the heading of its README.md says."""
    folder = folder or library_folder()
    return {readme.parent.name: _first_line(readme) for readme in sorted(folder.glob("*/README.md"))}


def _first_line(readme: Path) -> str:
    lines = readme.read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.strip() and not line.startswith("#")), "")


def library(folder: Path | None = None) -> tuple[LibraryClaim, ...]:
    """All claims of the package, in the order of their files and tests.

    Raises:
        ClaimError: a claim is invalid, or its id stands in two topics.
    """
    folder = folder or library_folder()
    claims: dict[str, LibraryClaim] = {}
    for file in sorted(folder.rglob("test_*.py")):
        declared = read_claims(file.parent / EXPECTATIONS)
        for claim_id, test, trains in _marked(ast.parse(file.read_text(encoding="utf-8"))):
            if claim_id in claims:
                raise ClaimError(
                    f"claim {claim_id!r} is decided by {claims[claim_id].file.name} and {file.name}"
                )
            claims[claim_id] = LibraryClaim(declared[claim_id], file.parent.name, file, test, trains)
    return tuple(claims.values())


def measured_costs(model: str | None = None, folder: Path | None = None) -> dict[str, float]:
    """The seconds that each claim took on one core.

    Args:
        model: on which; None: on whichever it took longest.
        folder: of the claims; the package's by default.
    """
    file = (folder or library_folder()) / COSTS
    by_model: dict[str, dict[str, float]] = (
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    )
    if model is not None:
        return by_model.get(model, {})
    claims = {claim for costs in by_model.values() for claim in costs}
    return {claim: max(costs.get(claim, 0.0) for costs in by_model.values()) for claim in claims}


def share_costs(claims: Mapping[str, str], measured: Mapping[str, float]) -> dict[str, float]:
    """By test its share of the work, in any unit: a claim's cost is shared by its tests.

    Args:
        claims: the claim of each test.
        measured: costs of claims; one that has none costs as much as the others do on average.
    """
    known = [measured[claim] for claim in {*claims.values()} if claim in measured]
    usual = sum(known) / len(known) if known else 1.0
    tests = Counter(claims.values())
    return {test: measured.get(claim, usual) / tests[claim] for test, claim in claims.items()}


def _marked(module: ast.Module) -> Iterator[tuple[str, str, bool]]:
    """The claim that each test is marked with, the test's name, and whether it is marked `training`."""
    whole = {name for value in _assigned_marks(module) for name, _ in _marks(value)}
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            marks = [mark for decorator in node.decorator_list for mark in _marks(decorator)]
            trains = "training" in {*whole, *(name for name, _ in marks)}
            for name, arguments in marks:
                if name == "claim" and arguments:
                    yield arguments[0], node.name, trains


def _assigned_marks(module: ast.Module) -> Iterator[ast.expr]:
    """What a module gives all of its tests as `pytestmark`."""
    for node in module.body:
        if isinstance(node, ast.Assign) and "pytestmark" in map(ast.unparse, node.targets):
            yield node.value


def _marks(expression: ast.expr) -> list[tuple[str, list[str]]]:
    """The marks `pytest.mark.NAME` or `pytest.mark.NAME(...)` in an expression, each with its texts."""
    if isinstance(expression, ast.List | ast.Tuple):
        return [mark for element in expression.elts for mark in _marks(element)]
    called = expression.func if isinstance(expression, ast.Call) else expression
    if not (isinstance(called, ast.Attribute) and ast.unparse(called.value) == "pytest.mark"):
        return []
    arguments = expression.args if isinstance(expression, ast.Call) else []
    texts = [
        node.value for node in arguments if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return [(called.attr, texts)]


def chosen_claims(
    words: Sequence[str] = (), of_topics: Iterable[str] = (), folder: Path | None = None
) -> tuple[LibraryClaim, ...]:
    """The claims whose id, statement, source or topic holds every one of some words, of some topics.

    Args:
        words: case is not looked at; none: all claims.
        of_topics: none: all topics.
        folder: of the claims; the package's by default.

    Raises:
        ClaimError: no topic of that name, or nothing holds the words.
    """
    known, of_topics = topics(folder), [*of_topics]
    for topic in of_topics:
        if topic not in known:
            raise ClaimError(f"there is no topic {topic!r}; {one_of(topic, known)}")
    claims = [item for item in library(folder) if not of_topics or item.topic in of_topics]
    matching = tuple(item for item in claims if all(word.lower() in _text(item) for word in words))
    if not matching:
        raise ClaimError(f"no claim holds {' and '.join(map(repr, words))}; `lazarus claims` lists all")
    return matching


def _text(item: LibraryClaim) -> str:
    claim = item.claim
    return " ".join((claim.id, claim.statement, claim.source, claim.family or "", item.topic)).lower()


def copy_files(
    claims: Sequence[LibraryClaim], target: Path, folder: Path | None = None
) -> Mapping[Path, Path]:
    """Copy the test files of some claims, with the declarations and fixtures that they need, to begin others with.

    Args:
        claims: whose files are copied, whole.
        target: a folder, made where it is missing.
        folder: of the claims; the package's by default.

    Returns:
        by file where it came from.

    Raises:
        FileExistsError: a file is there already; nothing was copied.
    """
    source, tests = folder or library_folder(), {item.file for item in claims}
    ids = {item.claim.id for item in library(source) if item.file in tests}
    declarations = {path for file in tests for path in _declaring(ids, file.parent / EXPECTATIONS)}
    pairs = {
        **{target / file.name: file for file in tests},
        **{target / EXPECTATIONS / path.name: path for path in declarations},
        target / FIXTURES: source / FIXTURES,
    }
    if there := [path for path in pairs if path.exists()]:
        raise FileExistsError(f"{there[0]} is there already: give another folder")
    for path, origin in pairs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, path)
    return pairs


def _declaring(ids: Iterable[str], folder: Path) -> list[Path]:
    """The files of a folder that declare, or include, one of some claims."""
    wanted = set(ids)
    return [
        path for path in folder.glob("*.yaml") if wanted & {item.values.get("id") for item in read_list(path)}
    ]
