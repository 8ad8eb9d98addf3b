"""Runs and baselines as sides of a comparison, and how they are found by a name or path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.baseline import Baseline, baseline_record_of, read_baseline
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.record import natural
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.reports import run_log
from lazarus_probe.reports.run import MOST_RUN, Run, RunError
from lazarus_probe.reports.summary import nothing_tested


@dataclass(frozen=True)
class Side:
    """A run or a baseline, as one side of a comparison.

    Attributes:
        name: the run's folder or the baseline's file, without folders.
        seeds: that it was measured with, pooled where there are several.
        package: the version of lazarus_probe that measured it.
        partial: what is missing from it, as in `partial: 5 of 29 claims`; empty where nothing is.
        models: by name, their fingerprints; those of a run in the order in which they were given.
        claims: by model, then by claim and parameters.
        broken: tests that gave no verdict; a baseline has none.
        remarks: what else to know of it.
        tests: by model and by claim with its parameters the test that measured it; a baseline has none.
    """

    name: str
    seeds: tuple[int, ...]
    package: str
    partial: str
    models: Mapping[str, str]
    claims: Mapping[str, Mapping[str, BaselineRecord]]
    broken: tuple[Broken, ...] = ()
    remarks: tuple[str, ...] = ()
    tests: Mapping[tuple[str, str], str] = field(default_factory=dict)


def read_side(name: str, reports: Path = Path("reports")) -> Side:
    """A run (its folder, `run.json` or `run.jsonl`, or a folder of runs: the latest) or a baseline (its file or name).

    Args:
        name: a path, or the name of a baseline or of a run in `reports`.
        reports: where runs and baselines are kept.

    Raises:
        RunError: it is none of these, or damaged. ClaimError: a baseline that is damaged, or of a newer schema.

    Example:
        >>> from lazarus_probe.reports import read_side
        >>> side = read_side("after")
        >>> side.seeds, list(side.models)
        ((0,), ['organism'])
    """
    path = _locate(name, reports)
    if path.is_dir():
        path = _latest(path)
    if path.name == run_log.NAME:
        return run_side(run_log.read_log(path), path.parent.name)
    try:
        document = read_json(path, MOST_RUN)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if isinstance(document, dict) and "environment" not in document and "model" in document:
        return baseline_side(read_baseline(path), path.name)
    return run_side(run_log.read_any(path), path.parent.name)


def find_run(name: str, reports: Path = Path("reports")) -> tuple[Path, Run]:
    """A run, given as one side of a comparison may be, and its folder.

    Raises:
        RunError: there is none, or it is damaged.

    Example:
        >>> from lazarus_probe.reports import find_run
        >>> folder, run = find_run("after")  # a name in reports/, or a path
        >>> folder.name, len(run.claims)
        ('after', 3)
    """
    path = _locate(name, reports)
    path = _latest(path) if path.is_dir() else path
    return path.parent, run_log.read_any(path)


def _locate(name: str, reports: Path) -> Path:
    candidates = [Path(name), reports / "baselines" / f"{name}.json", reports / name]
    for path in candidates:
        if path.exists():
            return path
    names = ", ".join(sorted(path.stem for path in (reports / "baselines").glob("*.json")))
    baselines = f"; baselines in {reports} are {names}" if names else ""
    raise RunError(f"{name} is neither a run's folder or run.json nor a baseline's file or name{baselines}")


def _latest(folder: Path) -> Path:
    """The file of the run in a folder, or of the last of those in its folders; a killed one has a `run.jsonl` alone."""
    if file := _file_of(folder):
        return file
    folders = sorted(
        (entry for entry in folder.iterdir() if entry.is_dir()), key=lambda entry: natural(entry.name)
    )
    runs = [
        file
        for run_folder in folders
        if not run_folder.name.startswith(".") and (file := _file_of(run_folder))
    ]
    if not runs:
        raise RunError(f"there is no run in {folder}: it holds no run.json, and none of its folders does")
    return runs[-1]


def _file_of(folder: Path) -> Path | None:
    return next((folder / name for name in ("run.json", run_log.NAME) if (folder / name).is_file()), None)


def run_side(run: Run, name: str) -> Side:
    """A run as a side.

    Raises:
        RunError: it is a shard of one: what is in the others is not gone.
    """
    if run.shard is not None:
        raise RunError(
            f"{name} is shard {run.shard} of a run, which holds a part of the claims: make one run of all "
            f"{run.shard.of} with `lazarus report merge`, and compare that"
        )
    claims: dict[str, dict[str, BaselineRecord]] = {}
    for record in run.claims:
        claims.setdefault(record.model.name, {})[record.key] = baseline_record_of(record)
    weights = {record.model.name: record.model.fingerprint for record in run.claims}
    models = {
        name: weights[name] for name in dict.fromkeys((*run.models, *sorted(weights))) if name in weights
    }
    package = run.environment.packages.get("lazarus_probe", "")
    remarks = tuple(f"{name}: {line}" for line in nothing_tested(run.claims))
    tests = {(broken.model, broken.claim): broken.test for broken in run.broken if broken.claim}
    tests |= {(record.model.name, record.key): record.test for record in run.claims}
    return Side(name, run.seeds, package, run.how_partial, models, claims, tuple(run.broken), remarks, tests)


def baseline_side(baseline: Baseline, name: str) -> Side:
    """A baseline as a side."""
    models = {baseline.model: baseline.fingerprint}
    return Side(name, baseline.seeds, baseline.package, "", models, {baseline.model: baseline.claims})
