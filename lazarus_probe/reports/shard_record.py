"""Which part of a run a shard is, and what tells it from a part of another run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class ShardRecord(BaseModel):
    """One of several machines' part of a run.

    Attributes:
        index: of the shard, from 1.
        of: how many shards there are.
        models: that the whole run is about, in order, as reports call them.
        claims: hash of the declarations of all claims of the run; empty where the shard was killed too early to tell.
        plan: hash of which case is in which shard; empty likewise.
        tests: in this shard.
        cut_short: whether it ended before all of its tests had run.
        left_out: whether claims were left out of the whole run, by `-k` or `-m`, or were skipped.
        failed: tests that failed for another reason than their verdict.
    """

    model_config = ConfigDict(extra="forbid")

    index: int
    of: int
    models: list[str]
    claims: str = ""
    plan: str = ""
    tests: int = 0
    cut_short: bool = True
    left_out: bool = False
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


def hash_of(lines: Iterable[str]) -> str:
    """A hash of some lines in any order."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
