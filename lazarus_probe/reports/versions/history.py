"""All runs kept in a folder, oldest first: the outcomes of the claims about each model over time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lazarus_probe.claims.change import WORSE, Change
from lazarus_probe.claims.record import natural
from lazarus_probe.reports import run_log
from lazarus_probe.reports.run import Run, RunError
from lazarus_probe.reports.versions.matrix import Matrix, matrix_of, of_model
from lazarus_probe.reports.versions.sides import run_side


@dataclass(frozen=True)
class History:
    """The runs of a folder.

    Attributes:
        matrices: by model, its runs as versions.
        skipped: a sentence for each run that is in none of them.
    """

    matrices: dict[str, Matrix]
    skipped: tuple[str, ...]

    @property
    def code(self) -> int:
        """What a program exits with: the most severe over models, of the last run against the one before it."""
        return max((matrix.code for matrix in self.matrices.values()), default=0)


def history_of(folder: Path, *, partial: bool = False, fail_on: frozenset[Change] = WORSE) -> History:
    """Read all runs in a folder, and put those of each model side by side.

    Args:
        folder: with runs in folders of their own.
        partial: whether runs that are partial are shown too; shards of a run never are.
        fail_on: the changes in the last run of a model that `code` counts.

    Raises:
        RunError: there is no run of which anything can be shown.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is no folder: give the one in which runs are kept, as reports/")
    runs, skipped = _runs(folder, partial=partial)
    if not runs:
        why = f": {'; '.join(skipped)}" if skipped else ""
        raise RunError(f"there is no run to show in {folder}{why}")
    sides = [run_side(run, name) for name, run in runs]
    models = sorted({model for side in sides for model in side.models})
    by_model = {model: [of_model(side, model) for side in sides if model in side.models] for model in models}
    return History({model: matrix_of(of, fail_on) for model, of in by_model.items()}, tuple(skipped))


def _runs(folder: Path, *, partial: bool) -> tuple[list[tuple[str, Run]], list[str]]:
    """The runs to show, oldest first, and why others are not shown."""
    runs: list[tuple[str, Run]] = []
    skipped: list[str] = []
    for inner in sorted(folder.iterdir(), key=lambda entry: natural(entry.name)):
        if not any((inner / name).is_file() for name in ("run.json", run_log.NAME)):
            continue
        try:
            run = run_log.read_any(inner)
        except RunError as error:
            skipped.append(f"skipped: {error}")
            continue
        if why := _why_not(run, partial=partial):
            skipped.append(f"skipped {inner.name}: {why}")
        else:
            runs.append((inner.name, run))
    runs.sort(key=lambda pair: (natural(pair[1].run), natural(pair[0])))
    return runs, skipped


def _why_not(run: Run, *, partial: bool) -> str | None:
    if run.shard:
        return f"it is shard {run.shard} of a run; `lazarus report merge` makes one of all"
    if run.partial and not partial:
        return f"it is {run.how_partial}; --partial shows it"
    return None if run.claims else "it holds no verdict"
