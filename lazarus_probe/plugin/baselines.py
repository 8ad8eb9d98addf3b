"""The baselines that a run is tested against, and those it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.options import report_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazarus_probe.claims.baseline import Baseline
    from lazarus_probe.claims.record import ClaimRecord, Known

READ: pytest.StashKey[dict[Path, Baseline]] = pytest.StashKey()


def check_file(config: pytest.Config) -> None:
    """Read the file that `--probe-baseline` names.

    Raises:
        pytest.UsageError: there is none, it is no baseline, or it was measured under another seed.
    """
    from lazarus_probe.claims.claim import ClaimError

    name, seed = config.getoption("probe_baseline"), config.getoption("probe_seed")
    if not Path(name).is_file():
        raise pytest.UsageError(
            f"--probe-baseline {name}: no such file; give auto, none or a baseline's path"
        )
    try:
        baseline = _read(config, Path(name))
    except ClaimError as error:
        raise pytest.UsageError(f"--probe-baseline: {error}") from None
    if baseline.seed != seed:
        raise pytest.UsageError(
            f"--probe-baseline {name} was measured with seed {baseline.seed}, this run has {seed}: "
            f"give --probe-seed {baseline.seed}"
        )


def baseline_of(config: pytest.Config, model: str) -> Baseline | None:
    """The baseline that a model is tested against, if there is one.

    Raises:
        ClaimError: the file is no baseline.
    """
    choice = config.getoption("probe_baseline")
    if choice == "none":
        return None
    path = baseline_path(config, model) if choice == "auto" else Path(choice)
    return _read(config, path) if path.exists() else None


def _read(config: pytest.Config, path: Path) -> Baseline:
    from lazarus_probe.claims.baseline import read_baseline

    cache = config.stash.setdefault(READ, {})
    if path not in cache:
        cache[path] = read_baseline(path)
    return cache[path]


def baseline_path(config: pytest.Config, model: str) -> Path:
    """Where a model's baseline is kept."""
    return report_folder(config) / "baselines" / f"{model.replace('/', '--')}.json"


def known(config: pytest.Config, record: ClaimRecord) -> Known | None:
    """What the baseline holds of a claim; with `auto`, only one of the very same model and seed counts."""
    from lazarus_probe.claims.baseline import misfit

    baseline = baseline_of(config, record.model.name)
    if baseline is None:
        return None
    if _is_auto(config) and misfit(baseline, record.model.fingerprint, config.getoption("probe_seed")):
        return None
    return baseline.known(record.key, record.claim_hash)


def remark(config: pytest.Config, record: ClaimRecord) -> str | None:
    """What to know of a model's baseline: that it was left out, or is of another version; else None."""
    from lazarus_probe.claims.baseline import misfit

    baseline, name = baseline_of(config, record.model.name), record.model.name
    if baseline is None:
        return None
    unfit = misfit(baseline, record.model.fingerprint, config.getoption("probe_seed"))
    if unfit and _is_auto(config):
        return f"the baseline of {name} was left out: {unfit}"
    return unfit and f"{name} is tested against the baseline of {baseline.model}: {unfit}"


def _is_auto(config: pytest.Config) -> bool:
    return bool(config.getoption("probe_baseline") == "auto")


def save(config: pytest.Config, records: Sequence[ClaimRecord]) -> list[str]:
    """Keep verdicts in the baselines of their models; say what was kept.

    A run of some claims leaves what is known of the others, as long as model and seed are the same.
    """
    from lazarus_probe.claims.baseline import write_baseline

    lines = []
    for model in sorted({record.model.name for record in records}):
        path = baseline_path(config, model)
        of_model = [record for record in records if record.model.name == model]
        lines.append(f"{path.name}: {write_baseline(path, of_model, config.getoption('probe_seed'))}")
    return lines
