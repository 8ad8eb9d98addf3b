"""The baselines that a run is tested against: where they are kept, which is in force, what it holds of the claims."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lazarus_probe.claims.baseline import (
    Baseline,
    baseline_record_of,
    compared,
    held_against,
    misfit,
    read_baseline,
    save_baseline,
    update_baseline,
)
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.differences import corrected
from lazarus_probe.claims.record import ClaimRecord, ModelRecord
from lazarus_probe.files.whole_files import file_name, is_there

AUTO, NONE = "auto", "none"


def own_path(reports: Path, model: str) -> Path:
    """Where a model's own baseline is kept."""
    return reports / "baselines" / file_name(model.replace("/", "--"), ".json")


def named_path(reports: Path, name: str) -> Path:
    """Where the baseline of a name is kept."""
    return reports / "baselines" / f"{name.replace('/', '--').removesuffix('.json')}.json"


def given_path(reports: Path, choice: str) -> Path:
    """The file that a choice of a baseline means: that path if there is one, else that name in `baselines/`."""
    path = Path(choice)
    return path if is_there(path) and path.is_file() else named_path(reports, choice)


def names_in(folder: Path) -> str:
    """The names of the baselines in a folder, for an error."""
    return ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "there are none yet"


def problem_with_name(name: str) -> str | None:
    """What is wrong with a name for a baseline, and what would be right."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and name not in (AUTO, NONE):
        return None
    return "give a name of letters, digits, dots, dashes and underscores, as in v1.2"


@dataclass(frozen=True)
class Baselines:
    """What a run is tested against.

    Attributes:
        reports: the folder in which runs and baselines are kept.
        choice: `auto` for each model's own, of the very same weights and seeds; `none`; else a path or a name.
        seeds: of the run.
        cache: files that were read.
    """

    reports: Path
    choice: str
    seeds: tuple[int, ...]
    cache: dict[Path, Baseline] = field(default_factory=dict, compare=False)

    @property
    def is_auto(self) -> bool:
        """Whether each model is tested against its own."""
        return self.choice == AUTO

    def read(self, path: Path) -> Baseline:
        """Read a baseline once.

        Raises:
            ClaimError: the file is no baseline.
        """
        if path not in self.cache:
            self.cache[path] = read_baseline(path)
        return self.cache[path]

    def of(self, model: str) -> Baseline | None:
        """The baseline that a model is tested against, if there is one.

        Raises:
            ClaimError: the file is no baseline.
        """
        if self.choice == NONE:
            return None
        path = own_path(self.reports, model) if self.is_auto else given_path(self.reports, self.choice)
        return self.read(path) if path in self.cache or is_there(path) else None

    def known(self, record: ClaimRecord) -> BaselineRecord | None:
        """What the baseline holds of a claim, while its family is still at work."""
        baseline = self._in_force(record.model)
        before = baseline.claims.get(record.key) if baseline else None
        return compared(record.key, baseline_record_of(record), before) if before else None

    def with_known(self, records: Sequence[ClaimRecord]) -> list[ClaimRecord]:
        """The records of a whole run, each with what the baseline of its model holds of it; the order stays."""
        held: dict[tuple[str, str], ClaimRecord] = {}
        for members in by_model(records).values():
            baseline = self._in_force(members[0].model)
            now = held_against(members, baseline.claims if baseline else {})
            held |= {(record.model.name, record.key): record for record in now}
        now = [held[record.model.name, record.key] for record in records]
        known = corrected([record.known for record in now])
        return [
            record.model_copy(update={"known": before}) for record, before in zip(now, known, strict=True)
        ]

    def remarks(self, records: Sequence[ClaimRecord]) -> list[str]:
        """What to know of the baselines: which were left out, are of another version, or hold other claims."""
        return [line for members in by_model(records).values() for line in self._remarks(members)]

    def _in_force(self, model: ModelRecord) -> Baseline | None:
        """A model's baseline; with `auto`, only one of the very same model and seeds."""
        baseline = self.of(model.name)
        if baseline is None:
            return None
        return None if self.is_auto and misfit(baseline, model.fingerprint, self.seeds) else baseline

    def _remarks(self, records: Sequence[ClaimRecord]) -> list[str]:
        model = records[0].model
        baseline = self.of(model.name)
        if baseline is None:
            return []
        unfit = misfit(baseline, model.fingerprint, self.seeds)
        if unfit and self.is_auto:
            return [f"the baseline of {model.name} was left out: {unfit}"]
        lines = [f"{model.name} is tested against the baseline of {baseline.model}: {unfit}"] if unfit else []
        return lines + _other_claims(records)


def by_model(records: Sequence[ClaimRecord]) -> dict[str, list[ClaimRecord]]:
    """The records of each model, by name."""
    groups: dict[str, list[ClaimRecord]] = {}
    for record in sorted(records, key=lambda record: record.model.name):
        groups.setdefault(record.model.name, []).append(record)
    return groups


def write_baselines(
    reports: Path, records: Sequence[ClaimRecord], seeds: Sequence[int], *, update: bool, name: str | None
) -> tuple[list[str], list[str]]:
    """Bring the baselines of a run's models up to date, or save it under a name; returns what was kept and what failed.

    Args:
        reports: the folder in which baselines are kept.
        records: of the run.
        seeds: of the run.
        update: whether each model's own baseline is brought up to date.
        name: to save the run under, if it is to be.
    """
    groups, notes, problems = by_model(records), list[str](), list[str]()
    if update:
        for model, members in groups.items():
            _try(partial(update_baseline, own_path(reports, model), members, seeds), notes, problems)
    if name and len(groups) > 1:
        problems.append(f"no baseline was saved: {name} is to be of one model, this run had {len(groups)}")
    elif name:
        _try(partial(save_baseline, named_path(reports, name), records, seeds), notes, problems)
    return notes, problems


def _try(write: partial[str], notes: list[str], problems: list[str]) -> None:
    try:
        notes.append(f"{write.args[0].name}: {write()}")
    except ClaimError as error:
        problems.append(f"no baseline was saved: {error}")
    except OSError as error:
        problems.append(f"the baseline could not be written: {error}")


def _other_claims(records: Sequence[ClaimRecord]) -> list[str]:
    pairs = [(record, record.known) for record in records if record.known]
    anew = [before.remark or "" for _, before in pairs if before.compared == "nothing"]
    moved = [line for line in anew if "changed since" in line]
    others = [line.partition(" is declared")[0] for line in anew if "changed since" not in line]
    lines = list(dict.fromkeys(moved))
    if others:
        lines.append(
            f"declared otherwise than in the baseline, and not compared with it: {', '.join(others)}"
        )
    families = sorted({record.claim.family for record, before in pairs if before.compared == "alone"})
    if families:
        lines.append(
            f"the baseline holds other claims of {', '.join(families)} than this run: "
            "their verdicts are compared as they are alone, without the family"
        )
    return lines
