"""A training log: one row per step, as CSV or JSON lines depending on the name of the file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lazarus_probe.files.reading import read_text
from lazarus_probe.files.whole_files import make_folder, whole_file

SUFFIXES = (".csv", ".jsonl")
MOST_LOG = 1 << 30  # bytes: ten million steps


class Log:
    """Appends rows to a file; when resuming, rows after the resumed step are dropped first.

    Use it as a context manager, or call `close`. Every row is flushed when `write` returns.

    Raises:
        ValueError: the file's name ends neither in .csv nor in .jsonl, or its content is not a log.
    """

    def __init__(self, path: Path, start: int = 0) -> None:
        """Open a log.

        Args:
            path: log.csv or log.jsonl; its folder is created if missing.
            start: the last step made; 0 starts a new log.
        """
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path} is not a log; name it {path.stem}.csv or {path.stem}.jsonl")
        self.path = path
        make_folder(path.parent)
        lines, self._columns = _until(path, start) if start and path.exists() else ([], [])
        with whole_file(path) as aside:
            self._file = aside.open("w", newline="", encoding="utf-8")
            self._file.writelines(lines)
            self._file.flush()

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; `None` is an empty field of a CSV.

        Raises:
            ValueError: the row's columns differ from the CSV's header.
        """
        if self.path.suffix == ".jsonl":
            self._file.write(json.dumps(dict(row)) + "\n")
        else:
            self._write_csv(row)
        self._file.flush()

    def _write_csv(self, row: Mapping[str, Any]) -> None:
        writer = csv.writer(self._file, lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        if list(row) != self._columns:
            raise ValueError(f"a row of {self.path} has {list(row)}; {self._columns} is needed")
        writer.writerow(["" if value is None else value for value in row.values()])

    def sync(self) -> None:
        """Sync the rows to disk, which must happen before a state that follows them is saved."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, numbers as numbers and empty fields as None; a truncated last row is dropped.

    Raises:
        ValueError: it is not a log.
    """
    return _parsed(path, _lines(path))


def _parsed(path: Path, lines: list[str]) -> list[dict[str, Any]]:
    try:
        return [{**row, "step": int(row["step"])} for row in _rows(path, lines)]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{path} is not a log of steps; remove it") from None


def _until(path: Path, step: int) -> tuple[list[str], list[str]]:
    """The unchanged lines of a log up to a step, and its columns if it is a CSV."""
    lines = _lines(path)
    rows = _parsed(path, lines)
    heading, rest = (lines[:1], lines[1:]) if path.suffix == ".csv" else ([], lines)
    columns = list(rows[0]) if heading and rows else []
    earlier = [line for line, row in zip(rest, rows, strict=True) if row["step"] <= step]
    return (heading + earlier if rows else []), columns


def _lines(path: Path) -> list[str]:
    """All lines, without a truncated last one."""
    return [line for line in read_text(path, MOST_LOG).splitlines(keepends=True) if line.endswith("\n")]


def _rows(path: Path, lines: list[str]) -> Iterator[dict[str, Any]]:
    if path.suffix == ".jsonl":
        yield from map(json.loads, lines)
    else:
        for row in csv.DictReader(lines):
            yield {name: _value(text) for name, text in row.items()}


def _value(text: str) -> Any:
    if text == "":
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if text.lstrip("-").isdigit() else number
