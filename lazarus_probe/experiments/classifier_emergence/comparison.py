"""Runs every arm for every seed, several at a time; each run is stored as soon as it is done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.backend import THREAD_VARIABLES
from lazarus_probe.experiments.classifier_emergence.arms import ARMS, TOGETHER, OnStep, Run, run_arms
from lazarus_probe.experiments.classifier_emergence.study import Study, write_json

if TYPE_CHECKING:
    from lazarus_probe.experiments.classifier_emergence.material import Size

OnRun = Callable[[Run], None]
Task = tuple[str, int]
Group = tuple[str, tuple[int, ...]]
# The slowest arms start first, so that no worker is left with one of them at the end.
LONGEST = ("routing", "grpo", "all", "mlp")


class Stopped(Exception):  # noqa: N818 - no error: the study was interrupted
    """A run that was cancelled."""


def wanted(seeds: Sequence[int]) -> list[Task]:
    """Every arm with every seed; the model without training once."""
    arms = sorted(ARMS, key=lambda arm: arm not in LONGEST)
    return [(arm, seed) for arm in arms for seed in (seeds if arm != "none" else seeds[:1])]


def missing(study: Study, seeds: Sequence[int]) -> list[Task]:
    """The tasks without a stored run."""
    return [task for task in wanted(seeds) if not study.run_path(*task).exists()]


def grouped(tasks: Sequence[Task]) -> list[Group]:
    """The seeds of each arm that are trained side by side."""
    seeds: dict[tuple[str, int], list[int]] = {}
    for arm, seed in tasks:
        seeds.setdefault((arm, seed // TOGETHER), []).append(seed)
    return [(arm, tuple(members)) for (arm, _), members in seeds.items()]


def compare(
    study: Study,
    seeds: Sequence[int],
    workers: int,
    on_run: OnRun,
    on_step: OnStep = lambda _step, _loss: None,
) -> None:
    """Run the missing tasks in `workers` processes of one thread each; a single worker runs in this process.

    When interrupted, finished runs are kept, and unfinished ones start again the next time.

    Args:
        study: the study.
        seeds: one training of each arm per seed.
        workers: number of processes.
        on_run: called with each new run.
        on_step: called after each step trained in this process; an exception from it ends the training.

    Raises:
        ValueError: `workers` is below 1, or as `run_arms`.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; at least 1 is needed")
    groups = grouped(missing(study, seeds))
    if workers == 1:
        for arm, members in groups:
            for run in _run_and_store(study, arm, members, on_step):
                on_run(run)
    elif groups:
        for run in _in_processes(study, groups, min(workers, len(groups))):
            on_run(run)


def _run_and_store(study: Study, arm: str, seeds: Sequence[int], on_step: OnStep) -> list[Run]:
    runs = run_arms(study.subject, arm, study.material, study.layer, seeds, on_step=on_step)
    for run in runs:
        write_json(study.run_path(arm, run.seed), run.as_dict())
    return runs


def _in_processes(study: Study, groups: Sequence[Group], workers: int) -> Iterator[Run]:
    context = get_context("spawn")  # a fork of a process that has used mlx hangs
    stop = context.Event()
    settings = StudySettings(study.model, study.material.task.name, study.material.size, study.output)
    with _one_thread_each():
        pool = ProcessPoolExecutor(workers, context, _begin, (settings, stop))
        try:
            for future in as_completed([pool.submit(_work, group) for group in groups]):
                arm, seeds = future.result()
                yield from (study.run(arm, seed) for seed in seeds)
        except BaseException:
            stop.set()  # running trainings end after their current step
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started within use one thread for matrix products, unless the environment says otherwise."""
    new = [name for name in THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(new, "1"))
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


@dataclass(frozen=True)
class StudySettings:
    """The settings that a worker process opens the study with."""

    model: str
    task: str
    size: Size
    output: Path


_state: dict[str, Any] = {}


def _begin(settings: StudySettings, stop: Any) -> None:
    """In a new process: open the study; the parent handles interrupts."""
    from lazarus_probe.experiments.study_tasks import TASKS

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    study = Study.open(settings.model, TASKS[settings.task], settings.size, settings.output)
    _state.update(study=study, stop=stop)


def _work(group: Group) -> Group:
    def check(_step: int, _loss: float) -> None:
        if _state["stop"].is_set():
            raise Stopped

    _run_and_store(_state["study"], *group, check)
    return group
