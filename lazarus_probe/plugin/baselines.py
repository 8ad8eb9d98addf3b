"""The baselines that a session is tested against, and those it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.models import label, models
from lazarus_probe.plugin.seeds import option_for, seeds_of
from lazarus_probe.plugin.settings import report_folder
from lazarus_probe.plugin.shards import shard_of

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.reports.baselines import Baselines

BASELINES: pytest.StashKey[Baselines] = pytest.StashKey()


def check_baselines(config: pytest.Config) -> None:
    """Check `--probe-baseline` and `--probe-save` before anything runs.

    Raises:
        pytest.UsageError: a name that is none, a baseline that is not there, is none or was measured under another
            seed, several models for one name, or scores alone, which have no verdicts to compare or keep.
    """
    if config.getoption("probe_scores_only"):
        _check_scores_only(config)
    if config.getoption("probe_baseline") not in ("auto", "none"):
        _check_given(config)
    if name := config.getoption("probe_save"):
        _check_name(name, [label(model) for model in models(config)])


def _check_scores_only(config: pytest.Config) -> None:
    baseline = config.getoption("probe_baseline")
    beside = {
        f"--probe-baseline {baseline}": baseline not in ("auto", "none"),
        "--probe-save": config.getoption("probe_save"),
        "--probe-update": config.getoption("probe_update"),
        "--probe-seeds": len(seeds_of(config)) > 1,
    }
    if option := next((option for option, is_given in beside.items() if is_given), None):
        raise pytest.UsageError(
            f"--probe-scores-only gives no verdicts, which {option} is about: give one of the two, and compare runs "
            "of scores with `lazarus report moved`"
        )


def _check_given(config: pytest.Config) -> None:
    from lazarus_probe.claims.claim import ClaimError
    from lazarus_probe.claims.record import named_seeds
    from lazarus_probe.files.whole_files import is_there
    from lazarus_probe.reports.baselines import given_path, names_in

    seeds, option = seeds_of(config), config.getoption("probe_baseline")
    path = given_path(report_folder(config), option)
    if not (is_there(path) and path.is_file()):
        raise pytest.UsageError(
            f"--probe-baseline {option}: no such file or name; "
            f"give auto, none, a baseline's path, or the name of one ({names_in(path.parent)})"
        )
    try:
        baseline = baselines(config).read(path)
    except ClaimError as error:
        raise pytest.UsageError(f"--probe-baseline: {error}") from None
    if baseline.seeds != seeds:
        raise pytest.UsageError(
            f"--probe-baseline {path.name} was measured with {named_seeds(baseline.seeds)}, this run has "
            f"{named_seeds(seeds)}: give {option_for(baseline.seeds)}"
        )


def _check_name(name: str, names: Sequence[str]) -> None:
    from lazarus_probe.reports.baselines import problem_with_name

    if wrong := problem_with_name(name):
        raise pytest.UsageError(f"--probe-save {name}: {wrong}")
    if len(names) > 1:
        raise pytest.UsageError(
            f"--probe-save {name} is of one model, this run has {len(names)} ({', '.join(names)}): "
            "save each in a run of its own, under a name of its own"
        )


def baselines(config: pytest.Config) -> Baselines:
    """Those of this session; each file is read once."""
    from lazarus_probe.reports.baselines import Baselines

    if BASELINES not in config.stash:
        # A shard holds a part of a family: its outcomes are compared once all shards are merged.
        unlike = shard_of(config) or config.getoption("probe_scores_only")  # nor has a score alone a verdict
        choice = "none" if unlike else config.getoption("probe_baseline")
        config.stash[BASELINES] = Baselines(report_folder(config), choice, seeds_of(config))
    return config.stash[BASELINES]


def keep(
    config: pytest.Config, records: Sequence[ClaimRecord], *, cut_short: bool
) -> tuple[list[str], list[str]]:
    """Do what `--probe-update` and `--probe-save` ask for; returns what was kept, and what went wrong.

    A run that was cut short leaves all baselines alone; a run of some claims leaves what is known of the others.
    """
    from lazarus_probe.reports.baselines import write_baselines

    update, name = config.getoption("probe_update"), config.getoption("probe_save")
    if cut_short and (update or name):
        return ["no baseline was saved: the run was cut short"], []
    return write_baselines(report_folder(config), records, seeds_of(config), update=update, name=name)
