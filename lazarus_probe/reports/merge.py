"""The shards of a run, from several machines, as the run that one machine would have made.

The outcome of each test by itself is read from the shards' `run.jsonl`; families are corrected and baselines compared
over all of it, as at the end of a session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.attempts import case_of, merged_attempts
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord, named_seeds
from lazarus_probe.reports.baselines import Baselines
from lazarus_probe.reports.run import Run, RunError, make_run, read_run
from lazarus_probe.reports.run_log import NAME, read_attempts, read_log
from lazarus_probe.reports.shard_record import ShardRecord

OPTION = "--probe-shard"
MOST_NAMED = 5  # shards in an error


@dataclass(frozen=True)
class Part:
    """A shard's run.

    Attributes:
        folder: of the run.
        run: as the shard left it.
        shard: which part it is.
        attempts: all that are over, each as it was judged by itself.
    """

    folder: Path
    run: Run
    shard: ShardRecord
    attempts: tuple[ClaimRecord | Broken, ...]

    @property
    def name(self) -> str:
        """For an error."""
        return f"{self.folder} (shard {self.shard})"


def read_parts(paths: Sequence[Path]) -> list[Part]:
    """The shards that some paths mean: runs' folders, `run.json` or `run.jsonl`, or folders in which shards' runs lie.

    Raises:
        RunError: a path is none of these, is a whole run, or cannot be read.
    """
    parts = [part for path in paths for part in _parts_of(path)]
    return sorted(parts, key=lambda part: part.shard.index)


def _parts_of(path: Path) -> list[Part]:
    if not path.exists():
        raise RunError(
            f"{path} does not exist: give the folders of shards' runs, or a folder that they lie in"
        )
    folder = path if path.is_dir() else path.parent
    if _is_run(folder):
        return [_read_part(folder)]
    runs = sorted(
        inner for inner in (*folder.glob("*"), *folder.glob("*/*")) if inner.is_dir() and _is_run(inner)
    )
    parts = [_read_part(inner) for inner in runs if _shard_of(inner)]
    if not parts:
        raise RunError(f"{path} holds no run of a shard: give the folders that `pytest {OPTION} I/N` wrote")
    return parts


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("run.json", NAME))


def _shard_of(folder: Path) -> ShardRecord | None:
    log = folder / NAME
    return read_attempts(log)[0].shard if log.is_file() else read_run(folder).shard


def _read_part(folder: Path) -> Part:
    log = folder / NAME
    run = read_run(folder) if (folder / "run.json").is_file() else read_log(log)
    if run.shard is None:
        raise RunError(f"{folder} is a whole run, and no shard of one: give runs of `pytest {OPTION} I/N`")
    if not log.is_file():
        raise RunError(f"{folder} holds no {NAME}, which a merge reads: keep the whole folder of each shard")
    return Part(folder, run, run.shard, tuple(read_attempts(log)[1]))


def check_parts(parts: Sequence[Part], *, partial: bool = False) -> None:
    """Whether these are the shards of one run, all of them and each once.

    Args:
        parts: in order.
        partial: whether shards may be missing, or have been cut short.

    Raises:
        RunError: they are not; the shard is named, with what would be right.
    """
    first = parts[0]
    for part in parts[1:]:
        _check_alike(first, part)
    _check_weights(parts)
    for before, part in pairwise(parts):
        if before.shard.index == part.shard.index:
            raise RunError(
                f"shard {part.shard} is given twice, as {before.folder} and {part.folder}: give one"
            )
    if twice := _in_two(parts):
        raise RunError(twice)
    if partial:
        return
    there = {part.shard.index for part in parts}
    if missing := [
        f"{index}/{first.shard.of}" for index in range(1, first.shard.of + 1) if index not in there
    ]:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise RunError(
            f"missing: shard {', '.join(missing[:MOST_NAMED])}{more}; run `pytest {OPTION} {missing[0]}`, "
            "or give --partial for a run without"
        )
    for part in parts:
        if part.shard.cut_short:
            raise RunError(
                f"{part.name} was cut short, after {len(part.run.claims)} verdicts: run it again, or give --partial "
                "for a run of what is there"
            )


def _check_alike(first: Part, part: Part) -> None:
    """Whether two shards are of one run: of the same number, version, seeds, models, claims and tests."""
    aspects: tuple[tuple[str, Callable[[Part], str], str], ...] = (
        ("is one of {} shards", lambda part: str(part.shard.of), "give the shards of one run"),
        ("was measured by lazarus_probe {}", _package, "run both with one version"),
        ("was measured with {}", lambda part: named_seeds(part.run.seeds), "run both with the same seeds"),
        ("is of {}", lambda part: ", ".join(part.shard.models), "run both on the same models"),
    )
    for words, value, right in aspects:
        if value(part) != value(first):
            raise RunError(
                f"{part.name} {words.format(value(part))}, {first.name} {words.format(value(first))}: {right}"
            )
    for name, what in (("claims", "other declarations of claims"), ("plan", "another selection of tests")):
        one, other = getattr(first.shard, name), getattr(part.shard, name)
        if one and other and one != other:
            raise RunError(
                f"{part.name} has {what} ({other}) than {first.name} ({one}): run both on the same files, with the "
                "same options"
            )


def _check_weights(parts: Sequence[Part]) -> None:
    weights: dict[str, tuple[str, Part]] = {}
    for part in parts:
        for model in (record.model for record in part.run.claims):
            before, other = weights.setdefault(model.name, (model.fingerprint, part))
            if before != model.fingerprint:
                raise RunError(
                    f"{model.name} has the fingerprint {model.fingerprint[:12]} in {part.name}, and {before[:12]} in "
                    f"{other.name}: run both on the same weights"
                )


def _package(part: Part) -> str:
    return part.run.environment.packages.get("lazarus_probe", "") or "unknown"


def _in_two(parts: Sequence[Part]) -> str | None:
    """Which case stands in two shards, if one does; those that were cut short may not say what they hold."""
    seen: dict[tuple[str, str], Part] = {}
    for part in parts:
        for case in {case_of(attempt) for attempt in part.attempts}:
            other = seen.setdefault(case, part)
            if other is not part:
                claim, model = case
                of_model = f" on {model}" if model else ""
                return f"{claim}{of_model} is in {other.name} and in {part.name}: run both on the same files"
    return None


def merged(parts: Sequence[Part], baselines: Baselines | None = None) -> Run:
    """The run that one machine would have made of the shards, which `check_parts` has passed.

    It says of where it ran what the first shard says.

    Args:
        parts: in order.
        baselines: that the claims are compared with.

    Raises:
        ClaimError: a baseline is none.
    """
    first = parts[0]
    seconds = [part.run.seconds for part in parts if part.run.seconds is not None]
    commits = {part.run.commit for part in parts}
    alone, broken = merged_attempts([attempt for part in parts for attempt in part.attempts])
    records, families = correct(alone)
    run = make_run(
        baselines.with_known(records) if baselines else records,
        first.run.seeds,
        (),
        partial=len(parts) < first.shard.of
        or any(part.shard.cut_short or part.shard.left_out for part in parts),
        families=families,
        broken=broken,
        cases=next((part.run.cases for part in parts if part.run.cases is not None), None),
        models=first.shard.models,
        seconds=sum(seconds) if len(seconds) == len(parts) else None,
        commit=commits.pop() if len(commits) == 1 else None,
    )
    fields = {"arguments": list(_whole(first.run.arguments)), "environment": first.run.environment}
    return run.model_copy(update=fields)


def _whole(arguments: Sequence[str]) -> Iterator[str]:
    """A shard's command line without the option that made it one."""
    rest = iter(arguments)
    for argument in rest:
        if argument == OPTION:
            next(rest, None)
        elif not argument.startswith(f"{OPTION}="):
            yield argument


def differing_environments(parts: Sequence[Part]) -> list[str]:
    """What is not the same on the machines, which may move a number; the package itself must be."""
    values: dict[str, dict[str, list[str]]] = {}
    for part in parts:
        where = part.run.environment
        fields = {
            "python": where.python,
            "platform": where.platform,
            "device": where.device,
            "BLAS": where.blas,
        }
        for name, value in {**fields, **where.packages}.items():
            values.setdefault(name, {}).setdefault(value, []).append(str(part.shard))
    return [
        f"{name} differs between shards: {', '.join(f'{value} in {shards[0]}' for value, shards in by_value.items())}"
        for name, by_value in values.items()
        if len(by_value) > 1
    ]
