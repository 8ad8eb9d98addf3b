"""Claims by versions: the outcome of each in several runs or baselines, and what changed from one to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lazarus_probe.claims.baseline_record import BaselineRecord, Difference
from lazarus_probe.claims.change import CHANGES, WORSE, Change
from lazarus_probe.claims.record import natural
from lazarus_probe.reports.run import Run
from lazarus_probe.reports.versions.compare import (
    GROUPS,
    SAME,
    Comparison,
    Group,
    Line,
    broken_of,
    compare_neighbours,
    models_across,
    of_claims,
)
from lazarus_probe.reports.versions.sides import Side, run_side

Direction = Literal["up", "down", "rose", "fell", "otherwise", "broken", ""]
UP, DOWN = ("gained", "newly measurable"), ("lost", "weakened", "no longer measurable")


@dataclass(frozen=True)
class Cell:
    """A claim in one version.

    Attributes:
        record: its outcome; None where the version lacks it.
        error: of its test, where that broke.
        group: what became of it since the version before; None in the first, and where one of the two lacks it.
        difference: of its score from the version before, judged among those of the whole matrix.
    """

    record: BaselineRecord | None = None
    error: str = ""
    group: Group | None = None
    difference: Difference | None = None

    @property
    def direction(self) -> Direction:
        """Where a verdict went, up or down; where the score under the same verdict did; empty where neither moved."""
        if self.group == "broken":
            return "broken"
        if self.group in UP or self.group in DOWN:
            return "up" if self.group in UP else "down"
        if self.group == "effect moved" and self.difference:
            return "rose" if self.difference.score > 0 else "fell"
        return "otherwise" if self.group == "declared otherwise" else ""


@dataclass(frozen=True)
class Row:
    """A claim, under one set of parameters, on one model, over all versions.

    Attributes:
        claim: with its parameters.
        model: the name that the last version which has the model gives it.
        cells: one a version.
    """

    claim: str
    model: str
    cells: tuple[Cell, ...]

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The effect over versions; None where there is none."""
        return tuple(cell.record.score if cell.record else None for cell in self.cells)

    @property
    def changed(self) -> bool:
        """Whether it changed from a version to the next, or its test broke."""
        return any(cell.group not in (None, "unchanged") for cell in self.cells)


@dataclass(frozen=True)
class Matrix:
    """Claims by versions, those that need a look first.

    Attributes:
        versions: in the order given.
        labels: what heads the column of each.
        rows: of all models.
        comparisons: of each version with the one before it; differences are corrected over all of them.
    """

    versions: tuple[Side, ...]
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def models(self) -> list[str]:
        """The models of the rows."""
        return sorted({row.model for row in self.rows})

    @property
    def compared(self) -> int:
        """How many pairs of neighbouring scores there are: all of them are corrected over."""
        return sum(comparison.compared for comparison in self.comparisons)

    @property
    def code(self) -> int:
        """What a program exits with: that of the last version against the one before it."""
        return self.comparisons[-1].code if self.comparisons else SAME

    @property
    def steps(self) -> list[dict[Group, int]]:
        """By pair of neighbours how many claims there are of each group, those that a version lacks left out."""
        return [
            {
                group: number
                for group in GROUPS
                if (number := Counter(row.cells[index].group for row in self.rows)[group])
            }
            for index in range(1, len(self.versions))
        ]

    @property
    def remarks(self) -> list[str]:
        """What else to know of the versions."""
        lines = [f"{side.name} is {side.partial}" for side in self.versions if side.partial]
        if len({side.seeds for side in self.versions}) > 1:
            lines.append("measured with different seeds: prompts and controls differ too")
        if len(packages := dict.fromkeys(side.package or "unknown" for side in self.versions)) > 1:
            lines.append(f"measured by different versions of lazarus_probe: {', '.join(packages)}")
        lines += [line for side in self.versions for line in side.remarks]
        lines += [line for comparison in self.comparisons for line in of_claims(comparison.lines)]
        for side in self.versions:
            lines += [
                f"{side.name}: {broken.test} broke: {broken.error}"
                for broken in side.broken
                if not broken.claim
            ]
        return list(dict.fromkeys(lines))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        versions = [
            {"name": side.name, "label": label, "seeds": list(side.seeds), "package": side.package}
            | {"partial": bool(side.partial), "models": dict(side.models)}
            for side, label in zip(self.versions, self.labels, strict=True)
        ]
        rows = [
            {"claim": row.claim, "model": row.model, "cells": [_plain(cell) for cell in row.cells]}
            for row in self.rows
        ]
        fail_on = self.comparisons[-1].fail_on if self.comparisons else frozenset()
        return {
            "versions": versions,
            "code": self.code,
            "fail_on": [change for change in CHANGES if change in fail_on],
            "steps": self.steps,
            "compared": self.compared,
            "remarks": self.remarks,
            "rows": rows,
        }


def _plain(cell: Cell) -> dict[str, Any]:
    record = (
        cell.record.model_dump(mode="json", exclude={"compared", "difference", "remark"})
        if cell.record
        else None
    )
    difference = cell.difference.model_dump(mode="json") if cell.difference else None
    return {"record": record, "error": cell.error, "group": cell.group, "difference": difference}


def matrix_of(sides: Sequence[Side], fail_on: frozenset[Change] = WORSE) -> Matrix:
    """Claims by versions.

    Each version is compared with the one before it, and differences are judged over all lines and all pairs. A claim
    that a version lacks is absent there: neither gone nor new.

    Args:
        sides: the versions, in order.
        fail_on: the changes from the last version but one to the last that `code` counts.
    """
    comparisons = compare_neighbours(sides, fail_on)
    lines = [{(line.claim, line.model): line for line in comparison.lines} for comparison in comparisons]
    rows = [row for names in models_across(sides) for row in _rows(sides, names, lines)]
    rows.sort(key=lambda row: (_turn(row), row.model, natural(row.claim)))
    return Matrix(tuple(sides), tuple(_labels(sides)), tuple(rows), comparisons)


def _rows(
    sides: Sequence[Side], names: tuple[str, ...], lines: Sequence[dict[tuple[str, str], Line]]
) -> Iterator[Row]:
    """The rows of a model, which every side calls by one of the names."""
    records = [side.claims.get(name, {}) for side, name in zip(sides, names, strict=True)]
    errors = [broken_of(side, name) if name else {} for side, name in zip(sides, names, strict=True)]
    model = next((name for name in reversed(names) if name), "")
    for claim in dict.fromkeys(key for of_side in (*records, *errors) for key in of_side):
        cells = [Cell(records[0].get(claim), "" if claim in records[0] else errors[0].get(claim, ""))]
        for index, of_pair in enumerate(lines, 1):
            now, error = records[index].get(claim), errors[index].get(claim, "")
            line = of_pair.get((claim, names[index] or names[index - 1]))
            cells.append(_cell(now, error, line))
        yield Row(claim, model, tuple(cells))


def _cell(now: BaselineRecord | None, error: str, line: Line | None) -> Cell:
    if now is None:
        return Cell(error=error, group="broken" if error else None)
    if line is None or line.old is None or line.new is None:
        return Cell(now)
    return Cell(now, "", line.group, line.old.difference)


def _turn(row: Row) -> int:
    """Rows in which something changed come first, as the groups of a comparison do."""
    return min((GROUPS.index(cell.group) for cell in row.cells if cell.group), default=len(GROUPS))


def _labels(sides: Sequence[Side]) -> list[str]:
    """A name for each column: of its model, where each version has another one; else of the run or baseline."""
    models = [[*side.models] for side in sides]
    if all(len(of_side) == 1 for of_side in models) and len({of_side[0] for of_side in models}) == len(sides):
        return [of_side[0] for of_side in models]
    return [side.name.removesuffix(".json") for side in sides]


def model_sides(side: Side) -> list[Side]:
    """The models of one run as versions, in its order."""
    return [of_model(side, name) for name in side.models]


def models_of(run: Run) -> Matrix | None:
    """The claims of a run by its models; None where it has one, or is a shard of a run."""
    if run.shard is not None or len({record.model.name for record in run.claims}) < 2:
        return None
    return matrix_of(model_sides(run_side(run, run.run)))


def of_model(side: Side, name: str) -> Side:
    """What a side holds of one model."""
    return replace(
        side,
        models={name: side.models[name]},
        claims={name: side.claims.get(name, {})},
        broken=tuple(broken for broken in side.broken if broken.model == name),
    )
