"""A run's verdicts as rows of JSON lines, and as metrics for an experiment tracker.

No tracker is a dependency: a logger is whatever has `log_metrics(metrics)`, and the three that `tracker` knows are
imported when they are used.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from lazarus_probe.plain import json_values

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.reports.run import Run

TRACKERS = ("wandb", "trackio", "mlflow")
# What all three take in the name of a metric.
UNUSUAL = re.compile(r"[^A-Za-z0-9_.\-]+")


class Logger(Protocol):
    """Takes the metrics of a run, numbers by name."""

    def log_metrics(self, metrics: Mapping[str, float]) -> object:
        """Keep them."""
        ...


def rows_of(run: Run) -> list[dict[str, Any]]:
    """A row for each verdict: the run, the model, the claim, its outcome, and the least gain over a control.

    Example:
        >>> from lazarus_probe.reports import find_run, rows_of
        >>> folder, run = find_run("after")
        >>> [(row["claim"], row["verdict"]) for row in rows_of(run)][1:]
        [('claim-1', 'supported'), ('claim-2', 'confounded')]
    """
    return [_row(run, record) for record in run.claims]


def jsonl_of(run: Run) -> str:
    """`rows_of` as JSON lines."""
    return "".join(f"{json.dumps(json_values(row), ensure_ascii=False)}\n" for row in rows_of(run))


def metrics_of(run: Run) -> dict[str, float]:
    """Numbers by name, as in `organism/induction-head-exists/score`, with how many verdicts of each kind there are."""
    metrics = {
        f"verdicts/{_name(outcome)}": float(n) for outcome, n in Counter(map(_outcome, run.claims)).items()
    }
    for record in run.claims:
        if measurement := record.measurement:
            path = "/".join(map(_name, filter(None, (record.model.name, record.claim.id, record.parameters))))
            numbers = {
                "score": measurement.score,
                "low": measurement.low,
                "high": measurement.high,
                "least_gain": _least_gain(record),
            }
            metrics |= {f"{path}/{name}": value for name, value in numbers.items() if value is not None}
    return metrics


def log_run(run: Run, logger: Logger) -> None:
    """Hand a run's metrics to a logger.

    Args:
        run: what was tested.
        logger: of `tracker`, or one's own.

    Example:
        >>> from lazarus_probe.reports import find_run, log_run
        >>> class Kept(dict):
        ...     log_metrics = dict.update
        >>> folder, run = find_run("after")
        >>> kept = Kept()
        >>> log_run(run, kept)
        >>> kept["verdicts/supported"]
        1.0
    """
    logger.log_metrics(metrics_of(run))


@contextmanager
def tracker(name: str, project: str, run: str) -> Iterator[Logger]:
    """A logger that writes to an experiment tracker, in a run of its own, which ends with the block.

    Args:
        name: `wandb`, `trackio` or `mlflow`.
        project: of the tracker; mlflow calls it an experiment.
        run: what the tracker calls the run.

    Raises:
        ValueError: it is none of these, or not installed.
    """
    if name not in TRACKERS:
        raise ValueError(f"no tracker is called {name!r}; give one of {', '.join(TRACKERS)}")
    try:
        module: Any = import_module(name)
    except ImportError:
        raise ValueError(f"{name} is not installed: pip install {name}") from None
    if name == "mlflow":
        module.set_experiment(project)
        with module.start_run(run_name=run):
            yield _To(module.log_metrics)
        return
    module.init(project=project, name=run)
    try:
        yield _To(module.log)
    finally:
        module.finish()


class _To:
    """A logger that calls a function with the metrics."""

    def __init__(self, write: Callable[[dict[str, float]], object]) -> None:
        self.write = write

    def log_metrics(self, metrics: Mapping[str, float]) -> object:
        return self.write(dict(metrics))


def _row(run: Run, record: ClaimRecord) -> dict[str, Any]:
    measurement = record.measurement
    measured = (
        {name: getattr(measurement, name) for name in ("score", "low", "high", "n", "groups", "unit")}
        if measurement
        else {}
    )
    return {
        "run": run.run,
        "commit": run.commit,
        "model": record.model.name,
        "fingerprint": record.model.fingerprint,
        "claim": record.claim.id,
        "hash": record.claim_hash,
        "parameters": record.parameters,
        "verdict": str(record.outcome),
        "changed": str(record.change) if record.change else None,
        "reason": record.reason,
        **measured,
        "least_gain": _least_gain(record),
        "q": record.q,
    }


def _least_gain(record: ClaimRecord) -> float | None:
    controls = record.measurement.controls if record.measurement else []
    return min((control.gain for control in controls), default=None)


def _outcome(record: ClaimRecord) -> str:
    return str(record.outcome)


def _name(text: str) -> str:
    return UNUSUAL.sub("-", text).strip("-") or "-"
