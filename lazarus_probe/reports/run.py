"""`run.json`: everything a run found, and what is needed to repeat it."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.reports.summary import summary_markdown
from lazarus_probe.subject.backend import choose_blas

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
    """A whole run; `schema_version` changes whenever a reader of the old one would be wrong."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    run: str
    seed: int
    arguments: list[str]
    partial: bool
    environment: Environment
    outcomes: dict[str, int]
    changed: list[str]
    claims: list[ClaimRecord]


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


def make_run(records: Sequence[ClaimRecord], seed: int, arguments: Sequence[object], *, partial: bool) -> Run:
    """Put a session's records together.

    Args:
        records: in the order of the report.
        seed: of the run.
        arguments: of the command line; folders in them are left out.
        partial: whether the run was cut short.
    """
    return Run(
        run=datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
        seed=seed,
        arguments=[_without_folder(str(argument)) for argument in arguments],
        partial=partial,
        environment=environment(),
        outcomes=dict(Counter(str(record.outcome) for record in records)),
        changed=[f"{record.model.name}: {record.key}" for record in records if record.changed],
        claims=list(records),
    )


def _without_folder(argument: str) -> str:
    """An argument whose value is an absolute path, with the last part alone: `-x=/home/me/y` is `-x=y`."""
    name, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    path, rest = value.partition("::")[0], "".join(value.partition("::")[1:])
    return f"{name}{equals}{Path(path).name}{rest}" if Path(path).is_absolute() else argument


def write_run(run: Run, folder: Path) -> Path:
    """Write `run.json` and `summary.md` to a folder named after the run; it appears whole or not at all.

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
        aside.rename(final)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return final


def schema() -> str:
    """The JSON Schema of `run.json`: the text of `run.schema.json` beside this module.

    It is written anew with

    python -c "from lazarus_probe.reports.run import schema; print(schema(), end='')" > run.schema.json
    """
    return json.dumps(Run.model_json_schema(mode="serialization"), indent=2) + "\n"


def _models(run: Run) -> str:
    names = sorted({record.model.name.replace("/", "--") for record in run.claims})
    joined = "_".join(names)
    return joined if len(joined) <= 100 else f"{len(names)}-models"


def _free(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}~{number}") for number in count(2))
    return next(each for each in chain([path], numbered) if not each.exists())
