"""The baselines that a run is tested against, and those it leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.models import label, models
from lazarus_probe.plugin.seeds import option_for, seeds_of
from lazarus_probe.plugin.settings import report_folder

if TYPE_CHECKING:
    from lazarus_probe.claims.baseline import Baseline
    from lazarus_probe.claims.baseline_record import BaselineRecord
    from lazarus_probe.claims.record import ClaimRecord

READ: pytest.StashKey[dict[Path, Baseline]] = pytest.StashKey()


def check_baselines(config: pytest.Config) -> None:
    """Check `--probe-baseline` and `--probe-save` before anything runs.

    Raises:
        pytest.UsageError: a name that is none, a baseline that is not there, is none or was measured under another
            seed, or several models for one name.
    """
    if not _is_auto(config) and config.getoption("probe_baseline") != "none":
        _check_given(config)
    if name := config.getoption("probe_save"):
        _check_name(name, [label(model) for model in models(config)])


def _check_given(config: pytest.Config) -> None:
    from lazarus_probe.claims.claim import ClaimError
    from lazarus_probe.claims.record import named_seeds
    from lazarus_probe.files.whole_files import is_there

    seeds, path = seeds_of(config), given_path(config)
    if not (is_there(path) and path.is_file()):
        raise pytest.UsageError(
            f"--probe-baseline {config.getoption('probe_baseline')}: no such file or name; "
            f"give auto, none, a baseline's path, or the name of one ({_names(path.parent)})"
        )
    try:
        baseline = _read(config, path)
    except ClaimError as error:
        raise pytest.UsageError(f"--probe-baseline: {error}") from None
    if baseline.seeds != seeds:
        raise pytest.UsageError(
            f"--probe-baseline {path.name} was measured with {named_seeds(baseline.seeds)}, this run has "
            f"{named_seeds(seeds)}: give {option_for(baseline.seeds)}"
        )


def _check_name(name: str, names: Sequence[str]) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name in ("auto", "none"):
        raise pytest.UsageError(
            f"--probe-save {name}: give a name of letters, digits, dots, dashes and underscores, as in v1.2"
        )
    if len(names) > 1:
        raise pytest.UsageError(
            f"--probe-save {name} is of one model, this run has {len(names)} ({', '.join(names)}): "
            "save each in a run of its own, under a name of its own"
        )


def given_path(config: pytest.Config) -> Path:
    """The file that `--probe-baseline` means: that path if there is one, else that name in `baselines/`."""
    from lazarus_probe.files.whole_files import is_there

    option = config.getoption("probe_baseline")
    return Path(option) if is_there(Path(option)) and Path(option).is_file() else named_path(config, option)


def named_path(config: pytest.Config, name: str) -> Path:
    """Where the baseline of a name is kept."""
    return report_folder(config) / "baselines" / f"{name.replace('/', '--').removesuffix('.json')}.json"


def baseline_path(config: pytest.Config, model: str) -> Path:
    """Where a model's own baseline is kept."""
    from lazarus_probe.files.whole_files import file_name

    return report_folder(config) / "baselines" / file_name(model.replace("/", "--"), ".json")


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "there are none yet"


def baseline_of(config: pytest.Config, model: str) -> Baseline | None:
    """The baseline that a model is tested against, if there is one.

    Raises:
        ClaimError: the file is no baseline.
    """
    if config.getoption("probe_baseline") == "none":
        return None
    from lazarus_probe.files.whole_files import is_there

    path = baseline_path(config, model) if _is_auto(config) else given_path(config)
    cache = config.stash.setdefault(READ, {})
    return _read(config, path) if path in cache or is_there(path) else None


def _read(config: pytest.Config, path: Path) -> Baseline:
    from lazarus_probe.claims.baseline import read_baseline

    cache = config.stash.setdefault(READ, {})
    if path not in cache:
        cache[path] = read_baseline(path)
    return cache[path]


def _is_auto(config: pytest.Config) -> bool:
    return bool(config.getoption("probe_baseline") == "auto")


def _in_force(config: pytest.Config, record: ClaimRecord) -> Baseline | None:
    """A model's baseline; with `auto`, only one of the very same model and seed."""
    from lazarus_probe.claims.baseline import misfit

    baseline = baseline_of(config, record.model.name)
    if baseline is None:
        return None
    unfit = misfit(baseline, record.model.fingerprint, seeds_of(config))
    return None if unfit and _is_auto(config) else baseline


def known(config: pytest.Config, record: ClaimRecord) -> BaselineRecord | None:
    """What the baseline holds of a claim, while its family is still at work."""
    from lazarus_probe.claims.baseline import baseline_record_of, compared

    baseline = _in_force(config, record)
    baseline_record = baseline.claims.get(record.key) if baseline else None
    return compared(record.key, baseline_record_of(record), baseline_record) if baseline_record else None


def with_known(config: pytest.Config, records: Sequence[ClaimRecord]) -> list[ClaimRecord]:
    """The records of a whole run, each with what the baseline of its model holds of it; the order stays."""
    from lazarus_probe.claims.baseline import held_against
    from lazarus_probe.claims.differences import corrected

    held: dict[tuple[str, str], ClaimRecord] = {}
    for members in by_model(records).values():
        baseline = _in_force(config, members[0])
        now = held_against(members, baseline.claims if baseline else {})
        held |= {(record.model.name, record.key): record for record in now}
    now = [held[record.model.name, record.key] for record in records]
    baseline_records = corrected([record.known for record in now])
    return [
        record.model_copy(update={"known": baseline_record})
        for record, baseline_record in zip(now, baseline_records, strict=True)
    ]


def by_model(records: Sequence[ClaimRecord]) -> dict[str, list[ClaimRecord]]:
    """The records of each model, by name."""
    groups: dict[str, list[ClaimRecord]] = {}
    for record in sorted(records, key=lambda record: record.model.name):
        groups.setdefault(record.model.name, []).append(record)
    return groups


def remarks(config: pytest.Config, records: Sequence[ClaimRecord]) -> list[str]:
    """What to know of the baselines: which were left out, are of another version, or hold other claims."""
    return [line for members in by_model(records).values() for line in _remarks(config, members)]


def _remarks(config: pytest.Config, records: Sequence[ClaimRecord]) -> list[str]:
    from lazarus_probe.claims.baseline import misfit

    model = records[0].model
    baseline = baseline_of(config, model.name)
    if baseline is None:
        return []
    unfit = misfit(baseline, model.fingerprint, seeds_of(config))
    if unfit and _is_auto(config):
        return [f"the baseline of {model.name} was left out: {unfit}"]
    lines = [f"{model.name} is tested against the baseline of {baseline.model}: {unfit}"] if unfit else []
    return lines + _other_claims(records)


def _other_claims(records: Sequence[ClaimRecord]) -> list[str]:
    pairs = [(record, record.known) for record in records if record.known]
    anew = [
        baseline_record.remark or "" for _, baseline_record in pairs if baseline_record.compared == "nothing"
    ]
    moved = [line for line in anew if "changed since" in line]
    others = [line.partition(" is declared")[0] for line in anew if "changed since" not in line]
    lines = list(dict.fromkeys(moved))
    if others:
        lines.append(f"declared otherwise than in the baseline, and not held against it: {', '.join(others)}")
    families = sorted(
        {record.claim.family for record, baseline_record in pairs if baseline_record.compared == "alone"}
    )
    if families:
        lines.append(
            f"the baseline holds other claims of {', '.join(families)} than this run: "
            "their verdicts are held against it as they are alone, without the family"
        )
    return lines


def keep(
    config: pytest.Config, records: Sequence[ClaimRecord], *, cut_short: bool
) -> tuple[list[str], list[str]]:
    """Do what `--probe-update` and `--probe-save` ask for; returns what was kept, and what went wrong.

    A run that was cut short leaves all baselines alone; a run of some claims leaves what is known of the others.
    """
    from lazarus_probe.claims.baseline import save_baseline, update_baseline

    update, name = config.getoption("probe_update"), config.getoption("probe_save")
    if cut_short and (update or name):
        return ["no baseline was saved: the run was cut short"], []
    groups, seeds = by_model(records), seeds_of(config)
    notes: list[str] = []
    problems: list[str] = []
    if update:
        for model, members in groups.items():
            _try(partial(update_baseline, baseline_path(config, model), members, seeds), notes, problems)
    if name and len(groups) > 1:
        problems.append(
            f"no baseline was saved: --probe-save {name} is of one model, this run had {len(groups)}"
        )
    elif name:
        _try(partial(save_baseline, named_path(config, name), records, seeds), notes, problems)
    return notes, problems


def _try(write: partial[str], notes: list[str], problems: list[str]) -> None:
    from lazarus_probe.claims.claim import ClaimError

    try:
        notes.append(f"{write.args[0].name}: {write()}")
    except ClaimError as error:
        problems.append(f"no baseline was saved: {error}")
    except OSError as error:
        problems.append(f"the baseline could not be written: {error}")
