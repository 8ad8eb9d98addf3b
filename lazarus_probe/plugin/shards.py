"""`--probe-shard 2/5`: a part of the tests, for one of several machines; `lazarus report merge` joins all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.models import label, models, parameters, uses_models

if TYPE_CHECKING:
    from lazarus_probe.reports.shard_record import ShardRecord

SHARD: pytest.StashKey[ShardRecord] = pytest.StashKey()  # once the tests are collected
ELSEWHERE: pytest.StashKey[list[pytest.Item]] = pytest.StashKey()  # tests of the other shards
OF_SHARD = "lazarus_probe shard"  # what a worker of a parallel run tells the controller
REFUSED = {
    "probe_update": ("--probe-update", "--update"),
    "probe_save": ("--probe-save", "--save NAME"),
    "probe_baseline": ("--probe-baseline", "--baseline"),
}


def add_shard_option(group: pytest.OptionGroup) -> None:
    """Add `--probe-shard`."""
    group.addoption(
        "--probe-shard",
        metavar="I/N",
        help="run the I-th of N parts of the tests, as in 2/5; tests of one file stay together, and `lazarus report "
        "merge` makes one run of all N, which is then compared with a baseline",
    )


def check_shard(config: pytest.Config) -> None:
    """Check `--probe-shard`, and refuse with it what only a whole run can do.

    Raises:
        pytest.UsageError: it names no shard, or a baseline is to be written or compared with.
    """
    if (shard := shard_of(config)) is None:
        return
    for name, (option, at_merge) in REFUSED.items():
        value = config.getoption(name)
        if value and value not in ("auto", "none"):
            raise pytest.UsageError(
                f"{option} with --probe-shard {shard[0]}/{shard[1]}: families are whole once all shards are merged; "
                f"leave it out, then `lazarus report merge RUNS {at_merge}`"
            )


def shard_of(config: pytest.Config) -> tuple[int, int] | None:
    """Which shard is to be run, and of how many; None for all tests.

    Raises:
        pytest.UsageError: `--probe-shard` names none.
    """
    text = config.getoption("probe_shard", None)
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    index, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= index <= of:
        raise pytest.UsageError(
            f"--probe-shard {text}: give I/N, the I-th of N shards with I from 1 to N, as in 2/5"
        )
    return index, of


def record_of(config: pytest.Config) -> ShardRecord | None:
    """What a run's header says of its shard; the tests are known to the process that collected them."""
    shard = shard_of(config)
    if shard is None or SHARD in config.stash:
        return config.stash.get(SHARD, None)
    from lazarus_probe.reports.shard_record import ShardRecord

    return ShardRecord(index=shard[0], of=shard[1], models=[label(name) for name in models(config)])


def take_shard(
    config: pytest.Config, items: list[pytest.Item], claims: Mapping[str, tuple[str, str]]
) -> None:
    """Leave the tests of this shard in the list. A session without any tests has no shards.

    Args:
        config: of the session.
        items: all tests that were selected; those of other shards are taken out.
        claims: by node id of the tests that decide one, a claim's id and the hash of its declaration.
    """
    record = record_of(config)
    if record is None or not items:
        return
    from lazarus_probe.reports.shard_record import hash_of

    costs = measured_shares({test: claim for test, (claim, _) in claims.items()})
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    loads = {file: (sum(costs.get(item.nodeid, 0.0) for item in of), len(of)) for file, of in files.items()}
    turns = shard_by_file(loads, record.of)
    shards = {item: turns[item.nodeid.partition("::")[0]] for item in items}
    rest = [item for item in items if shards[item] != record.index]
    items[:] = [item for item in items if shards[item] == record.index]
    config.stash[ELSEWHERE] = rest
    config.stash[SHARD] = record.model_copy(
        update={
            "claims": hash_of({f"{claim} {declared}" for claim, declared in claims.values()}),
            "plan": hash_of(f"{shard} {_case(item)}" for item, shard in shards.items()),
            "tests": len(items),
        }
    )
    if rest:
        config.hook.pytest_deselected(items=rest)


def measured_shares(claims: Mapping[str, str]) -> Mapping[str, float]:
    """By test its share of the time; nothing where none of the claims was ever measured, and tests are counted."""
    from lazarus_probe.claims.library import measured_costs, share_costs

    measured = measured_costs()
    return share_costs(claims, measured) if measured.keys() & {*claims.values()} else {}


def shard_by_file(loads: Mapping[str, tuple[float, int]], shards: int) -> dict[str, int]:
    """The shard of each file, from 1: the largest file first, each to the shard that has least until then.

    Args:
        loads: by file its cost in any unit, and its number of tests, which decides where costs are equal.
        shards: how many there are.
    """
    turns: dict[str, int] = {}
    sums = [(0.0, 0)] * shards
    for file in sorted(loads, key=lambda name: (-loads[name][0], -loads[name][1], name)):
        least = min(range(shards), key=lambda shard: sums[shard])
        turns[file] = least + 1
        cost, tests = loads[file]
        sums[least] = (sums[least][0] + cost, sums[least][1] + tests)
    return turns


def _case(item: pytest.Item) -> str:
    """A test's name, parameters and model; where its file lies may differ between machines."""
    callspec = getattr(item, "callspec", None)
    model = label(callspec.params["subject"]) if callspec and uses_models(item) else ""
    name = item.nodeid.partition("::")[2].partition("[")[0]
    return f"{item.path.name}::{name}[{parameters(item)}] {model}"


def finished(config: pytest.Config, *, cut_short: bool, left_out: bool, failed: int) -> ShardRecord | None:
    """What a shard's run keeps of it at the end; None for a run that is not one of several."""
    record = record_of(config)
    fields = {"cut_short": cut_short, "left_out": left_out, "failed": failed}
    return record.model_copy(update=fields) if record else None


def tell_controller(config: pytest.Config) -> None:
    """Hand a parallel run's controller, which collects no tests, what a worker knows of the shard."""
    if SHARD in config.stash:
        config.workeroutput[OF_SHARD] = config.stash[SHARD].model_dump_json()  # type: ignore[attr-defined]


def hear_worker(config: pytest.Config, output: Mapping[str, str]) -> None:
    """Take over what a worker knows of the shard."""
    if OF_SHARD in output:
        from lazarus_probe.reports.shard_record import ShardRecord

        config.stash[SHARD] = ShardRecord.model_validate_json(output[OF_SHARD])


def is_empty(config: pytest.Config) -> bool:
    """Whether there are tests, and none of them in this shard."""
    return SHARD in config.stash and config.stash[SHARD].tests == 0


def sentences(record: ShardRecord, verdicts: int, cases: int | None) -> Sequence[str]:
    """What to know of a shard at its end."""
    if not record.tests:
        return [
            f"shard {record} is empty: there are fewer files of tests than shards, and a file stays in one shard"
        ]
    of = "" if cases is None else f" of {cases}"
    return [
        f"shard {record}: {verdicts}{of} claims; verdicts are final once `lazarus report merge RUNS` has all "
        f"{record.of} shards"
    ]
