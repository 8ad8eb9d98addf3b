"""What looking and touching cost here and in other libraries; a script, with --quick and --only forward or sweep.

One process, one thread, float32, the same random Llamas in every library, runs in shuffled order, median CPU time.
Nothing is timed before all engines agree on the numbers. `pip install 'lazarus_probe[peers]'` brings the others.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import numpy as np
from engines import HOOKED, NEW, SWEEP, Engine, Size, organism, own_engines, prompts
from rich.console import Console
from rich.table import Table
from torch_engines import torch_engines

TINY = Size("tiny", layers=8, width=128, heads=4, kv_heads=2, mlp=384, length=8)
SMALL = Size("small", layers=8, width=256, heads=8, kv_heads=4, mlp=688, length=32)
LONG = Size("small", layers=8, width=256, heads=8, kv_heads=4, mlp=688, length=128)
MEDIUM = Size("medium", layers=16, width=1024, heads=16, kv_heads=8, mlp=2816, length=32)

FORWARD = ("plain", "capture", "intervention")
SWEEPS = {
    "grid": "Patching the residual stream, layers x positions",
    "last": "Patching the residual stream, layers x last position",
    "ablation": f"Ablation of each MLP with {NEW} greedy tokens",
}
TOLERANCE = 1e-4
SHORT = 1.0  # seconds: runs below are timed several times a round
SAMPLE = 0.03  # seconds: runs below are repeated within a sample


@dataclass(frozen=True, eq=False)
class Run:
    """One case in one engine, and how many cells it computes."""

    engine: Engine
    case: str
    call: Callable[[], Any]
    cells: int = 1


@dataclass(frozen=True, eq=False)
class Measured:
    """CPU seconds of every case in every engine."""

    size: Size
    engines: Sequence[Engine]
    seconds: Mapping[tuple[str, str], float]
    cells: Mapping[tuple[str, str], int]

    def cost(self, engine: str, case: str) -> float:
        """CPU seconds a cell."""
        return self.seconds[engine, case] / self.cells[engine, case]

    def plain(self, engine: Engine) -> float:
        """CPU seconds of the plain forward of the library that an engine runs on."""
        return self.seconds[next(one.name for one in self.engines if one.library == engine.library), "plain"]

    def forwards(self, engine: Engine, case: str) -> float:
        """Cost of a cell in plain forwards of the same library."""
        return self.cost(engine.name, case) / self.plain(engine)

    def ours(self, case: str) -> float:
        """Cost of a cell of the sweep engine in plain forwards."""
        return self.forwards(self.engines[-1], case)


@dataclass(frozen=True)
class Target:
    """A figure of ours beside what is to be reached."""

    text: str
    found: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.limit if self.at_least else self.found <= self.limit


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer cells for the slow engines")
    parser.add_argument("--only", choices=["forward", "sweep"], help="one of the two parts")
    given = parser.parse_args()
    console, targets = Console(), list[Target]()
    if given.only != "sweep":
        for size in (TINY, SMALL, LONG, MEDIUM):
            found = measured(size, FORWARD, forward_runs, rounds=1 if given.quick else 4)
            console.print(forward_table(found))
            targets += capture_targets(found)
        targets += organism_targets(rounds=10 if given.quick else 40)
    if given.only != "forward":
        for size in (SMALL, LONG, MEDIUM):
            runs = sweep_runs(size, slow_cells=64 if given.quick else 256)
            found = measured(size, ("grid", "ablation"), runs, rounds=1 if given.quick else 3)
            for case, title in SWEEPS.items():
                if size != MEDIUM or case != "grid":
                    console.print(sweep_table(found, case, title))
            targets += sweep_targets(found)
    console.print(target_table(targets))


# What is run


def forward_runs(engine: Engine, ids: np.ndarray, _donor: np.ndarray) -> Iterator[Run]:
    for case in FORWARD:
        if case in engine.cases:
            yield Run(engine, case, partial(engine.cases[case], ids))


def sweep_runs(size: Size, slow_cells: int) -> Callable[[Engine, np.ndarray, np.ndarray], Iterator[Run]]:
    """Of every sweep; a whole forward a cell costs the same for each, so that engines that do that get fewer cells."""
    full = [(layer, position) for layer in range(size.layers) for position in range(size.length)]
    some = full[:: max(1, len(full) // slow_cells)]
    last = full[size.length - 1 :: size.length]

    def runs(engine: Engine, target: np.ndarray, donor: np.ndarray) -> Iterator[Run]:
        if "plain" in engine.cases:
            yield Run(engine, "plain", lambda: engine.cases["plain"](target))
        if "grid" in engine.cases:
            every = full if engine.name == SWEEP else some
            if size != MEDIUM:
                yield Run(engine, "grid", lambda: engine.cases["grid"](target, donor, every), len(every))
            yield Run(engine, "last", lambda: engine.cases["grid"](target, donor, last), len(last))
        if "ablation" in engine.cases:
            yield Run(engine, "ablation", lambda: engine.cases["ablation"](target), size.layers)

    return runs


# How it is measured


def measured(
    size: Size, cases: Iterable[str], runs_of: Callable[..., Iterator[Run]], rounds: int
) -> Measured:
    """Every run of every engine, timed after the engines were found to agree."""
    target, donor = prompts(size)
    with tempfile.TemporaryDirectory() as folder:
        found = [*torch_engines(size, Path(folder)), *own_engines(size, Path(folder))]
        for case in cases:
            check(found, case, *questions(size, case, target, donor))
        runs = [run for engine in found for run in runs_of(engine, target, donor)]
        seconds = timed(runs, rounds)
    cells = {(run.engine.name, run.case): run.cells for run in runs}
    return Measured(size, found, seconds, cells)


def questions(size: Size, case: str, target: np.ndarray, donor: np.ndarray) -> tuple[Any, ...]:
    """What a case is given for the comparison of answers: of a grid, a few cells."""
    if case != "grid":
        return (target,)
    cells = [(0, 0), (size.layers // 2, size.length // 2), (size.layers - 1, size.length - 1)]
    return target, donor, cells


def check(found: Iterable[Engine], case: str, *given: Any) -> None:
    """Whether all engines answer the same.

    Raises:
        SystemExit: one does not; the message names it.
    """
    answers = {engine.name: engine.cases[case](*given) for engine in found if case in engine.cases}
    (first, expected), *others = answers.items()
    for name, answer in others:
        error = difference(answer, expected)
        if error > TOLERANCE:
            raise SystemExit(
                f"{case}: {name} differs from {first} by {error:.1e}; no figures are worth having"
            )


def difference(found: Any, expected: Any) -> float:
    """The largest difference as a part of the largest value, over all arrays of an answer."""
    if isinstance(expected, list) and not isinstance(expected[0], int | float | list):
        return max(difference(*pair) for pair in zip(found, expected, strict=True))
    one, other = np.asarray(found), np.asarray(expected)
    return float(np.abs(one - other).max() / np.abs(other).max())


def timed(runs: Sequence[Run], rounds: int) -> dict[tuple[str, str], float]:
    """Median CPU seconds of a call of each run, over rounds in shuffled order."""
    repeats, schedule = {}, []
    for run in runs:
        spent = seconds(run.call, 1)
        repeats[run] = max(1, round(SAMPLE / max(spent, 1e-6)))
        schedule += [run] * (5 if spent < SHORT else 1)
    samples: dict[Run, list[float]] = {run: [] for run in runs}
    for _ in range(rounds):
        for run in random.sample(schedule, len(schedule)):
            samples[run].append(seconds(run.call, repeats[run]))
    return {(run.engine.name, run.case): median(found) for run, found in samples.items()}


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of a call, the garbage of others collected before."""
    gc.collect()
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


# What is printed


def forward_table(found: Measured) -> Table:
    table = Table("engine", "plain, ms", *FORWARD, title=f"Forward, {found.size}")
    for engine in found.engines:
        if engine.missing:
            table.add_row(engine.name, engine.missing)
        elif "plain" in engine.cases:
            ratios = [f"{found.forwards(engine, case):.2f}" for case in FORWARD]
            table.add_row(engine.name, f"{1e3 * found.plain(engine):.2f}", *ratios)
    table.caption = "in plain forwards of the library that the engine runs on: transformers, or mlx-lm"
    return table


def sweep_table(found: Measured, case: str, title: str) -> Table:
    table = Table("engine", "cells", "CPU s", "forwards a cell", "times ours", title=f"{title}, {found.size}")
    for engine in found.engines:
        key = engine.name, case
        if engine.missing:
            table.add_row(engine.name, engine.missing)
        elif key in found.seconds:
            times = found.cost(*key) / found.cost(SWEEP, case)
            figures = f"{found.seconds[key]:.3f}", f"{found.forwards(engine, case):.3f}", f"{times:.2f}"
            table.add_row(engine.name, str(found.cells[key]), *figures)
    return table


def target_table(targets: Iterable[Target]) -> Table:
    table = Table("to reach", "found", "target", "", title="Targets")
    for one in targets:
        sign = "at least" if one.at_least else "at most"
        table.add_row(one.text, f"{one.found:.3g}", f"{sign} {one.limit:g}", "met" if one.met else "missed")
    return table


# What is to be reached


def capture_targets(found: Measured) -> Iterator[Target]:
    if found.size == MEDIUM:
        ratio = found.cost(HOOKED, "capture") / found.cost(HOOKED, "plain")
        yield Target(f"capture of residual, attention and MLP, {MEDIUM}, plain forwards", ratio, 1.03)


def organism_targets(rounds: int) -> Iterator[Target]:
    """On the bundled model, where the fixed costs of hooks are the largest part."""
    cases, ids = organism(), np.arange(1, 9)[None]
    names = ("plain", "capture", "compiled", "graph", "hooked graph")
    spent = timed([Run(cases, name, partial(cases.cases[name], ids)) for name in names], rounds)
    plain, capture, compiled, graph, hooked = (spent[cases.name, name] for name in names)
    text = "capture of residual, attention and MLP, organism 1x8, plain forwards"
    yield Target(text, capture / plain, 1.0)
    yield Target("the same, compiled", compiled / plain, 1.0)
    yield Target(f"graph with 8 hooks, us over the plain {1e6 * graph:.0f}", 1e6 * (hooked - graph), 30)


def sweep_targets(found: Measured) -> Iterator[Target]:
    size, floor = found.size, 2 / found.size.layers
    where = f"{size.name}, T={size.length}"
    if size != MEDIUM:
        limit, times = (0.10, 2.5) if size == SMALL else (0.17, 3)
        yield Target(f"grid, {where}, forwards a cell", found.ours("grid"), limit)
        if peers := [engine.name for engine in found.engines if "grid" in engine.cases][:-2]:
            ratio = min(found.cost(name, "grid") for name in peers) / found.cost(SWEEP, "grid")
            yield Target(f"grid, {where}, times less CPU than the best peer", ratio, times, at_least=True)
    yield Target(f"layers x last position, {where}, over {floor:.3f}", found.ours("last") / floor, 1.15)
    if size != LONG:
        limit = 0.85 if size == SMALL else 0.55
        yield Target(f"ablation with {NEW} tokens, {where}, forwards a cell", found.ours("ablation"), limit)


if __name__ == "__main__":
    main()
