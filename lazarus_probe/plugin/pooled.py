"""A claim's test once a seed, within one test of pytest.

`-k`, `--lf`, `-x`, junitxml, xdist and plugins that run a test again see one test with one id and one outcome, whatever
the number of seeds. For each seed after the first, what belongs to the test alone is torn down and set up anew, as
pytest does between two tests of a file; models, activations and fixtures of wider scope stay.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.tmpdir import tmppath_result_key

from lazarus_probe.plugin.collection import EVIDENCE, is_claim
from lazarus_probe.plugin.seeds import seeds_of

if TYPE_CHECKING:
    from lazarus_probe.claims.seed_runs import SeedRun


@dataclass
class SeedRuns:
    """The seeds of one test, and the outcomes of those that are over."""

    seeds: tuple[int, ...]
    over: list[SeedRun] = field(default_factory=list)

    @property
    def current(self) -> int:
        """The seed at work, or the last one."""
        return self.seeds[min(len(self.over), len(self.seeds) - 1)]

    @property
    def left(self) -> bool:
        """Whether a seed is still to be run."""
        return len(self.over) < len(self.seeds)


RUNS: pytest.StashKey[SeedRuns] = pytest.StashKey()


def seed_of(node: Any) -> int:
    """The seed that a test runs with now; a test that decides no claim has the first."""
    return node.stash[RUNS].current if RUNS in node.stash else seeds_of(node.config)[0]


def is_pooled(item: pytest.Item) -> bool:
    """Whether a test runs once a seed."""
    return len(seeds_of(item.config)) > 1 and is_claim(item)


@pytest.hookimpl(wrapper=True, trylast=True)  # innermost: output and warnings are caught for every seed
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Set up a claim's test for the first seed that its fixtures find it applicable with."""
    if not is_pooled(item):
        yield
        return
    from lazarus_probe.claims.claim import NotApplicable

    item.stash[RUNS] = SeedRuns(seeds_of(item.config))
    try:
        yield
    except NotApplicable as reason:
        _not_applicable(item, str(reason))
        if not _set_up_next(item):
            raise


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Run a claim's test with the seed it is set up for, then with each that is left."""
    if not is_pooled(item):
        yield
        return
    from lazarus_probe.claims.claim import NotApplicable

    try:
        yield
    except NotApplicable as reason:
        _not_applicable(item, str(reason))
    else:
        _measured(item)
    while _set_up_next(item):
        try:
            item.runtest()
        except NotApplicable as reason:
            _not_applicable(item, str(reason))
        else:
            _measured(item)


def _set_up_next(item: pytest.Item) -> bool:
    """Set a test up for the next seed that its fixtures find it applicable with; False if there is none left."""
    from lazarus_probe.claims.claim import NotApplicable

    runs, state = item.stash[RUNS], item.session._setupstate
    while runs.left:
        # `tmp_path` takes the outcomes of the phases from here when it is torn down; pytest notes it after each phase.
        item.stash.setdefault(tmppath_result_key, {})
        state.teardown_exact(item.parent)  # type: ignore[arg-type] # all below it: the test alone
        item._initrequest()  # type: ignore[attr-defined]
        try:
            state.setup(item)
        except NotApplicable as reason:
            _not_applicable(item, str(reason))
        else:
            return True
    return False


def _measured(item: pytest.Item) -> None:
    from lazarus_probe.claims.seed_runs import SeedRun

    runs, (evidence, _) = item.stash[RUNS], item.stash[EVIDENCE]
    runs.over.append(
        SeedRun(runs.current, evidence.verdict(), evidence.measurement, tuple(evidence.requirements))
    )


def _not_applicable(item: pytest.Item, reason: str) -> None:
    from lazarus_probe.claims.evidence import not_applicable
    from lazarus_probe.claims.seed_runs import SeedRun

    runs = item.stash[RUNS]
    evidence = item.stash[EVIDENCE][0] if EVIDENCE in item.stash else None
    requirements = tuple(evidence.requirements) if evidence else ()
    runs.over.append(SeedRun(runs.current, not_applicable(reason), requirements=requirements))
