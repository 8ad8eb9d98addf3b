"""`run.jsonl`: what a run found so far, a line for each attempt at a claim, on the disk the moment it is known.

A run that is killed leaves this file alone; `read_any` makes a partial run of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.attempts import merged_attempts
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import read_bytes
from lazarus_probe.files.whole_files import append_line
from lazarus_probe.reports.run import (
    MOST_RUN,
    Environment,
    Run,
    RunError,
    check_schema,
    make_run,
    read_run,
    run_folder,
)
from lazarus_probe.reports.shard_record import ShardRecord
from lazarus_probe.spelling import in_a_line

NAME = "run.jsonl"
LONGEST_HEADER = 1 << 20  # bytes
SCHEMA: Literal[4] = 4  # the one that `run.json` has too
Part = TypeVar("Part", bound=BaseModel)


class Header(BaseModel):
    """The first line: what is known of a run before its first verdict.

    Attributes:
        cases: how many verdicts the whole run will have, where that is known.
        models: that it is about, in the order given.
        shard: which part of a run it is, if it is one of several.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[4] = SCHEMA
    run: str
    seeds: tuple[int, ...]
    arguments: list[str]
    cases: int | None
    environment: Environment
    models: list[str] = []
    shard: ShardRecord | None = None


class Attempt(BaseModel):
    """Each other line: a verdict, or a test that broke."""

    model_config = ConfigDict(extra="forbid")

    claim: ClaimRecord | None = None
    broken: Broken | None = None


def start_log(header: Header, reports: Path, models: Collection[str]) -> Path:
    """Make the folder of a run with a `run.jsonl` of the header alone.

    Raises:
        OSError: it cannot be written; then there is no folder either.
    """
    file = run_folder(reports, header.run, models) / NAME
    try:
        append_line(file, header.model_dump_json())
    except OSError:
        shutil.rmtree(file.parent, ignore_errors=True)
        raise
    return file


def add_attempt(file: Path, attempt: ClaimRecord | Broken) -> None:
    """Write an attempt down; it is on the disk when this returns.

    Raises:
        OSError: it cannot be written; what was written before stays.
    """
    line = Attempt(broken=attempt) if isinstance(attempt, Broken) else Attempt(claim=attempt)
    append_line(file, line.model_dump_json(exclude_none=False))


def read_any(path: Path) -> Run:
    """Read a run: its `run.json`, its folder, or the `run.jsonl` of one that was killed.

    Raises:
        RunError: there is none, or it is damaged.
    """
    if path.is_dir() and not (path / "run.json").exists() and (path / NAME).exists():
        path = path / NAME
    return read_log(path) if path.suffix == ".jsonl" else read_run(path)


def read_log(path: Path) -> Run:
    """The run that a `run.jsonl` holds, its verdicts corrected in their families as at the end of a run.

    It is partial unless every case has a verdict. A last line without an end was being written when the run was
    killed, and is left out.

    Raises:
        RunError: it cannot be read, or a line of it is damaged.
    """
    header, attempts = read_attempts(path)
    records, broken = merged_attempts(attempts)
    records, families = correct(records)
    run = make_run(
        records,
        header.seeds,
        (),
        partial=header.cases is None or len(records) < header.cases,
        families=families,
        broken=broken,
        cases=header.cases,
        run=header.run,
        models=header.models,
    )
    fields = {"arguments": header.arguments, "environment": header.environment, "shard": header.shard}
    return run.model_copy(update=fields)


def read_attempts(path: Path) -> tuple[Header, list[ClaimRecord | Broken]]:
    """What a `run.jsonl` holds: its header, and all attempts as they were judged by themselves, outside families.

    Raises:
        RunError: as `read_log`.
    """
    try:
        lines = read_bytes(path, MOST_RUN).split(b"\n")[:-1]
    except OSError as error:
        raise RunError(f"run {path} cannot be read: {error.strerror}") from None
    if not lines:
        raise RunError(f"run {path} holds no line: the run was killed before its first verdict")
    header = _header(lines[0], path)
    return header, [_attempt(line, f"{path}:{number}") for number, line in enumerate(lines[1:], 2)]


def read_header(path: Path) -> Header:
    """What the first line of a `run.jsonl` says; the rest is not looked at.

    Raises:
        RunError: it cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(LONGEST_HEADER)
    except OSError as error:
        raise RunError(f"run {path} cannot be read: {error.strerror}") from None
    return _header(line, path)


def _attempt(line: bytes, where: str) -> ClaimRecord | Broken:
    attempt = _checked(Attempt, _parsed(line, where), where)
    if attempt.claim is not None:
        return attempt.claim
    if attempt.broken is not None:
        return attempt.broken
    raise RunError(f"{where} is no part of a run: it holds neither a claim nor a broken test")


def _header(line: bytes, path: Path) -> Header:
    document = _parsed(line, f"{path}:1")
    check_schema(document, (SCHEMA,), path)
    return _checked(Header, document, f"{path}:1")


def _parsed(line: bytes, where: str) -> object:
    try:
        return parse_json(line)
    except ValueError as error:
        raise RunError(f"{where} is no part of a run: {' '.join(str(error).split())}") from None


def _checked(part: type[Part], document: object, where: str) -> Part:
    try:
        return part.model_validate(document)
    except ValidationError as error:
        fault = in_a_line(error.errors()[0], "the line")
        raise RunError(f"{where} is no part of a run: {fault}") from None
