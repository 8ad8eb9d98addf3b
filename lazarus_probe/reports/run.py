"""`run.json`: everything a run found, and what is needed to repeat it."""

from __future__ import annotations

import json
import platform
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lazarus_probe.backend import choose_blas, full_float32
from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.families import FamilyRecord
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.whole_files import file_name, new_folder
from lazarus_probe.plain import without_halves
from lazarus_probe.reports.shard_record import ShardRecord
from lazarus_probe.spelling import in_a_line
from lazarus_probe.versions import version_of

Schema = Literal[2, 3, 4]
SCHEMAS: tuple[int, ...] = get_args(Schema)
MOST_RUN = 256 << 20  # bytes of a run that are read at most
PACKAGES = ("lazarus_probe", "mlx", "mlx-lm", "numpy", "scipy", "scikit-learn", "transformers", "pytest")


class Environment(BaseModel):
    """Where a run ran."""

    model_config = ConfigDict(extra="forbid")

    python: str
    platform: str
    device: str
    blas: str
    packages: dict[str, str]


class Run(BaseModel):
    """A whole run; `schema_version` changes whenever a reader of the old one would be wrong.

    Schema 2 had one seed, and differences that were each judged by themselves; schema 3 kept no attempts.

    Attributes:
        seed: the first of `seeds`.
        seeds: that it was measured with; what several of them measured was pooled.
        partial: whether it was cut short, or claims were left out of it.
        cases: how many verdicts a whole run has: one for each claim, its parameters and model; None if unknown.
        models: that it was to be about, in the order given; some may have given no verdict.
        shard: which part it is of a run on several machines; None for a run that is none.
        seconds: that it took, or that its shards took together; None if unknown.
        commit: of the claims, with `-dirty` where they were changed since; None where git does not keep them.

    Example:
        >>> from lazarus_probe.reports import find_run
        >>> folder, run = find_run("after")
        >>> run.command
        'pytest hypotheses/'
        >>> [str(record.outcome) for record in run.claims]
        ['inconclusive', 'supported', 'confounded']
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Schema = 4
    run: str
    seed: int
    seeds: tuple[int, ...] = Field(default_factory=lambda given: (given["seed"],))
    arguments: list[str]
    partial: bool
    cases: int | None = None
    models: list[str] = []
    shard: ShardRecord | None = None
    seconds: float | None = None
    commit: str | None = None
    environment: Environment
    outcomes: dict[str, int]
    changed: list[str]
    families: list[FamilyRecord]
    broken: list[Broken]
    claims: list[ClaimRecord]

    @property
    def command(self) -> str:
        """What was typed, as a shell takes it."""
        return shlex.join(["pytest", *self.arguments])

    @property
    def how_partial(self) -> str:
        """As in `partial: 5 of 29 claims`, or `partial: shard 2/5, 5 of 29 claims`; empty where it is whole."""
        if not self.partial:
            return ""
        claims = "" if self.cases is None else f"{len(self.claims)} of {self.cases} claims"
        parts = ", ".join(part for part in (f"shard {self.shard}" if self.shard else "", claims) if part)
        return f"partial: {parts}" if parts else "partial"

    @property
    def why_partial(self) -> str:
        """Why it is partial, as the end of a sentence; empty where it is whole."""
        if self.shard:
            return f"`lazarus report merge` makes one run of all {self.shard.of} shards"
        return "it was cut short, or claims were left out of it" if self.partial else ""


class RunError(ValueError):
    """A `run.json` that cannot be read.

    Example:
        >>> from lazarus_probe.reports import RunError, find_run
        >>> try:
        ...     find_run("yesterday")
        ... except RunError as error:
        ...     print(error)
        yesterday is neither a run's folder or run.json nor a baseline's file or name
    """


def environment() -> Environment:
    """This process': versions, device and BLAS."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device(),
        blas=blas(),
        packages={name: version_of(name) for name in PACKAGES},
    )


def blas() -> str:
    """The BLAS in use, by file name: a report carries no path of the machine."""
    return str(choose_blas())


def device() -> str:
    """The device mlx computes on, as in `cpu`; a GPU that may round float32 products to TF32 says so."""
    import mlx.core as mx

    name = str(mx.default_device().type).removeprefix("DeviceType.")
    return name if name == "cpu" or full_float32() else f"{name} with TF32"


def make_run(
    records: Sequence[ClaimRecord],
    seeds: Sequence[int],
    arguments: Sequence[object],
    *,
    partial: bool,
    families: Sequence[FamilyRecord] = (),
    broken: Sequence[Broken] = (),
    cases: int | None = None,
    run: str | None = None,
    models: Sequence[str] = (),
    shard: ShardRecord | None = None,
    seconds: float | None = None,
    commit: str | None = None,
) -> Run:
    """Put a session's records together.

    Args:
        records: in the order of the report.
        seeds: of the run; several were pooled.
        arguments: of the command line; folders in them are left out.
        partial: whether the run was cut short.
        families: of the records.
        broken: tests that gave no verdict.
        cases: how many verdicts a whole run has, where that is known.
        run: what it is called; after the time of the call by default.
        models: that it was to be about, in the order given.
        shard: which part it is of a run on several machines.
        seconds: that it took.
        commit: of the claims.
    """
    return Run(
        run=run or now(),
        seed=seeds[0],
        seeds=tuple(seeds),
        arguments=shown_arguments(arguments),
        partial=partial,
        cases=cases,
        models=list(models),
        shard=shard,
        seconds=seconds,
        commit=commit,
        environment=environment(),
        outcomes=dict(Counter(str(record.outcome) for record in records)),
        changed=[f"{record.model.name}: {record.key}" for record in records if record.changed],
        families=list(families),
        broken=list(broken),
        claims=list(records),
    )


def now() -> str:
    """What a run that begins now is called."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def shown_arguments(arguments: Sequence[object]) -> list[str]:
    """The arguments of a command line as a report keeps them: no folder of the machine is in them."""
    return [_without_folder(without_halves(str(argument))) for argument in arguments]


def _without_folder(argument: str) -> str:
    """An argument whose value is an absolute path, with the last part alone: `-x=/home/me/y` is `-x=y`."""
    name, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    path, rest = value.partition("::")[0], "".join(value.partition("::")[1:])
    return f"{name}{equals}{Path(path).name}{rest}" if Path(path).is_absolute() else argument


def read_run(path: Path) -> Run:
    """Read a `run.json`, or the one in a run's folder.

    Raises:
        RunError: there is none, it is damaged, or a newer version of this package wrote it.
    """
    file = path / "run.json" if path.is_dir() else path
    try:
        document = read_json(file, MOST_RUN)
    except (OSError, ValueError) as error:
        raise RunError(f"run {file} cannot be read: {' '.join(str(error).split())}") from None
    check_schema(document, SCHEMAS, file)
    try:
        return Run.model_validate(document)
    except ValidationError as error:
        raise RunError(f"{file} is no run: {in_a_line(error.errors()[0], 'the file')}") from None


def run_folder(reports: Path, run: str, models: Collection[str]) -> Path:
    """Make the folder of a run that nothing is written of yet; no two runs ever share one.

    Raises:
        OSError: it cannot be made.
    """
    joined = "_".join(sorted(name.replace("/", "--") for name in models)) or "no-verdicts"
    shown = joined if len(models) == 1 or len(joined) <= 100 else f"{len(models)}-models"
    return new_folder(reports / file_name(f"{run}-{shown}", ""))


def check_schema(document: object, readable: Sequence[int], file: Path) -> None:
    """Whether this version reads what a run says it is written in.

    Raises:
        RunError: the run is newer, or too old.
    """
    written = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(written, int) and written not in readable:
        oldest, current = min(readable), max(readable)
        how = "update lazarus_probe" if written > current else "run the hypotheses again"
        reads = f"{oldest} to {current}" if oldest < current else current
        raise RunError(f"run {file} has schema {written}, this version reads {reads}: {how}")


def schema() -> str:
    """The JSON Schema of `run.json`: the text of `run.schema.json` next to this module.

    It is written anew with

    python -c "from lazarus_probe.reports.run import schema; print(schema(), end='')" > run.schema.json
    """
    document = Run.model_json_schema(mode="serialization")
    for part in (document, *document["$defs"].values()):
        if "description" in part:  # a docstring, whose example is of Python
            part["description"] = part["description"].partition("\n\nExample:\n")[0]
    return json.dumps(document, indent=2) + "\n"
