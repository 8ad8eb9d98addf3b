"""`run.json`: everything a run found, and what is needed to repeat it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lazarus_probe.claims.families import FamilyRecord
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.reports.summary import summary_markdown
from lazarus_probe.subject.backend import choose_blas

Schema = Literal[2, 3]
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


class Broken(BaseModel):
    """A claim's test that came to no verdict, because something raised.

    Attributes:
        test: its node id.
        error: in one line.
        claim: and its parameters, as in a baseline; empty where a whole worker died.
        model: that it ran on.
    """

    model_config = ConfigDict(extra="forbid")

    test: str
    error: str
    claim: str = ""
    model: str = ""


class Run(BaseModel):
    """A whole run; `schema_version` changes whenever a reader of the old one would be wrong.

    Schema 2 had one seed, and differences that were each judged by themselves.

    Attributes:
        seed: the first of `seeds`.
        seeds: that it was measured with; what several of them measured was pooled.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Schema = 3
    run: str
    seed: int
    seeds: tuple[int, ...] = Field(default_factory=lambda given: (given["seed"],))
    arguments: list[str]
    partial: bool
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


class RunError(ValueError):
    """A `run.json` that cannot be read."""


def environment() -> Environment:
    """This process': versions, device and BLAS."""
    return Environment(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device(),
        blas=blas(),
        packages={name: _version(name) for name in PACKAGES},
    )


def blas() -> str:
    """The BLAS in use, by file name: a report carries no path of the machine."""
    return str(choose_blas())


def device() -> str:
    """The device mlx computes on, as in `cpu`."""
    import mlx.core as mx

    return str(mx.default_device().type).removeprefix("DeviceType.")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def make_run(
    records: Sequence[ClaimRecord],
    seeds: Sequence[int],
    arguments: Sequence[object],
    *,
    partial: bool,
    families: Sequence[FamilyRecord] = (),
    broken: Sequence[Broken] = (),
) -> Run:
    """Put a session's records together.

    Args:
        records: in the order of the report.
        seeds: of the run; several were pooled.
        arguments: of the command line; folders in them are left out.
        partial: whether the run was cut short.
        families: of the records.
        broken: tests that came to no verdict.
    """
    return Run(
        run=datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
        seed=seeds[0],
        seeds=tuple(seeds),
        arguments=[_without_folder(str(argument)) for argument in arguments],
        partial=partial,
        environment=environment(),
        outcomes=dict(Counter(str(record.outcome) for record in records)),
        changed=[f"{record.model.name}: {record.key}" for record in records if record.changed],
        families=list(families),
        broken=list(broken),
        claims=list(records),
    )


def _without_folder(argument: str) -> str:
    """An argument whose value is an absolute path, with the last part alone: `-x=/home/me/y` is `-x=y`."""
    name, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    path, rest = value.partition("::")[0], "".join(value.partition("::")[1:])
    return f"{name}{equals}{Path(path).name}{rest}" if Path(path).is_absolute() else argument


def write_run(run: Run, folder: Path) -> Path:
    """Write `run.json`, `summary.md` and `index.html` to a folder named after the run; it appears whole or not at all.

    Raises:
        OSError: it cannot be written; then nothing is left of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = _free(folder / f"{run.run}-{_models(run)}")
    aside = folder / f".{final.name}.{os.getpid()}"
    aside.mkdir()
    try:
        (aside / "run.json").write_text(run.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (aside / "summary.md").write_text(summary_markdown(run), encoding="utf-8")
        (aside / "index.html").write_text(_page(run), encoding="utf-8")
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def _page(run: Run) -> str:
    """The page, or one that says why there is none: a figure that cannot be drawn must not take the numbers with it."""
    from lazarus_probe.reports.page import page_html

    try:
        return page_html(run)
    except Exception as error:
        why = escape(f"{type(error).__name__}: {error}")
        return f"<!doctype html><p>The page could not be made ({why}); the numbers are in run.json.</p>"


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
    written = document.get("schema_version") if isinstance(document, dict) else None
    oldest, *_, current = SCHEMAS
    if isinstance(written, int) and written not in SCHEMAS:
        how = "update lazarus_probe" if written > current else "run the hypotheses again"
        raise RunError(f"run {file} has schema {written}, this version reads {oldest} to {current}: {how}")
    try:
        return Run.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RunError(f"{file} is no run: {where}: {' '.join(first['msg'].split())}") from None


def schema() -> str:
    """The JSON Schema of `run.json`: the text of `run.schema.json` beside this module.

    It is written anew with

    python -c "from lazarus_probe.reports.run import schema; print(schema(), end='')" > run.schema.json
    """
    return json.dumps(Run.model_json_schema(mode="serialization"), indent=2) + "\n"


def _models(run: Run) -> str:
    names = sorted({record.model.name.replace("/", "--") for record in run.claims})
    joined = "_".join(names) or "no-verdicts"
    return joined if len(joined) <= 100 else f"{len(names)}-models"


def _free(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}~{number}") for number in count(2))
    return next(each for each in chain([path], numbered) if not each.exists())
