"""What is refused before anything runs: a claim that cannot be tested, a model that cannot be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.models import label, models, parameters, problem_with, uses_models
from lazarus_probe.plugin.shards import take_shard

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.claims.evidence import Evidence
    from lazarus_probe.claims.record import ModelRecord

CLAIM: pytest.StashKey[Claim] = pytest.StashKey()
EVIDENCE: pytest.StashKey[tuple[Evidence, ModelRecord]] = pytest.StashKey()
REFUSAL = "lazarus_probe"
SELECTED: pytest.StashKey[int] = pytest.StashKey()  # cases of claims, each with its parameters and model
LEFT_OUT = "lazarus_probe left out"
REPEATED = "__pytest_repeat_step_number"  # the parameter by which pytest-repeat runs a test again


@pytest.hookimpl(trylast=True)  # what was deselected is not looked at
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse claims and models in one line.

    Raises:
        pytest.UsageError: something is refused. A worker of a parallel run empties its list and tells the
        controller
            instead, which does the same: pytest-xdist has no way for an error of usage.
    """
    if problem := _problem(config, items):
        if not is_worker(config):
            raise pytest.UsageError(problem)
        refuse_on_worker(config, problem)
        items.clear()
        return
    claims = [item for item in items if is_claim(item)]
    if claims:
        config.stash[SELECTED] = len({_case(item) for item in claims})  # one that is repeated counts once
    take_shard(config, items, {item.nodeid: (claim_of(item).id, claim_of(item).hash) for item in claims})


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of several that pytest-xdist started."""
    return hasattr(config, "workerinput")


def refuse_on_worker(config: pytest.Config, problem: str) -> None:
    """Leave a problem for the controller, which ends the run as an error of usage."""
    config.workeroutput[REFUSAL] = problem  # type: ignore[attr-defined]


def _problem(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    problem = None
    if claims := [item for item in items if is_claim(item)]:
        problem = _problem_with_claims(config, claims)
    if problem is None and any(uses_models(item) for item in items):
        problem = problem_with(config)
    if problem is None and claims:
        from lazarus_probe.plugin.outputs import problem_with_outputs

        problem = problem_with_outputs(config)
    return problem


def _problem_with_claims(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    from lazarus_probe.claims.claim import ClaimError
    from lazarus_probe.plugin.baselines import baselines

    try:
        _check_claims(items)
        for name in models(config):
            baselines(config).of(label(name))
    except ClaimError as error:
        return str(error)
    return None


def is_claim(item: pytest.Item) -> bool:
    """Whether a test decides a claim; a marked class or module may also hold tests that do not."""
    marked = any(mark.name == "claim" for mark in getattr(item, "own_markers", ()))
    return marked or "evidence" in getattr(item, "fixturenames", ())


def _check_claims(items: list[pytest.Item]) -> None:
    from lazarus_probe.claims.claim import ClaimError

    decided: dict[tuple[str, str, str], pytest.Item] = {}
    for item in items:
        claim = claim_of(item)
        if "evidence" not in getattr(item, "fixturenames", ()):
            raise ClaimError(f"{item.nodeid} is marked as claim {claim.id!r} and never asks for `evidence`")
        first_item = decided.setdefault(_case(item), item)
        if first_item is not item and not _is_repeated(item, first_item):
            raise ClaimError(
                f"claim {claim.id!r} is decided twice, by {first_item.nodeid} and {item.nodeid}; parametrise one test"
            )


def _case(item: pytest.Item) -> tuple[str, str, str]:
    callspec = getattr(item, "callspec", None)
    model = str(callspec.params.get("subject", "")) if callspec else ""
    return claim_of(item).id, parameters(item), model


def _is_repeated(item: pytest.Item, other: pytest.Item) -> bool:
    """Whether two tests are one that is run again."""
    same = item.nodeid.partition("[")[0] == other.nodeid.partition("[")[0]
    return same and all(
        REPEATED in test.callspec.params for test in (item, other) if hasattr(test, "callspec")
    )


def claim_of(item: pytest.Item) -> Claim:
    """The claim that a test decides.

    Raises:
        ClaimError: the test has none, or one that is not pre-registered or not complete.
    """
    if CLAIM not in item.stash:
        item.stash[CLAIM] = _read(item)
    return item.stash[CLAIM]


def _read(item: pytest.Item) -> Claim:
    from lazarus_probe.claims.claim import ClaimError, make_claim
    from lazarus_probe.claims.expectations import find_claim
    from lazarus_probe.spelling import nearest

    marker = item.get_closest_marker("claim")
    if marker is None:
        misspelt = next((mark.name for mark in item.iter_markers() if nearest(mark.name, ["claim"])), None)
        guess = f"; did you mean claim by @pytest.mark.{misspelt}?" if misspelt else ""
        raise ClaimError(f'{item.nodeid} asks for `evidence` without @pytest.mark.claim("id"){guess}')
    if not marker.args and "id" not in marker.kwargs:
        raise ClaimError(f'{item.nodeid}: @pytest.mark.claim needs an id, as in @pytest.mark.claim("id")')
    if len(marker.args) == 1 and not marker.kwargs:
        return find_claim(marker.args[0], item.path)
    if marker.args:
        raise ClaimError(f"{item.nodeid}: @pytest.mark.claim takes an id alone, or keyword fields alone")
    return make_claim(marker.kwargs, item.path.name)
